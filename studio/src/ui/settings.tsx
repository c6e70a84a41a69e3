/** What is folded away: the seed, the model, and whatever settings its stages have. */
import { useState } from "preact/hooks";
import type { Fields, Schema } from "../api/types";
import { type Key, t } from "../i18n";
import { en } from "../i18n/en";
import { ability, capabilities, chooseModel, model } from "../state/capabilities";
import { isServed, seed, setting, settingsOf } from "../state/form";
import { Button } from "./button";
import { Choice, Field, Text } from "./field";
import { Icon } from "./icon";
import { fault, isSimple, SchemaField } from "./schema";

interface Props {
  tool: string;
  fields: Fields;
  /** Fields that the tool shows itself. */
  without: readonly string[];
  onChange: (name: string, value: unknown) => void;
}

/** Fields that have a place of their own here. */
const FOLDED = ["decoder", "prior", "negative_prompt"];
const NEVER = ["seed", "settings", ...FOLDED];
/** Settings of the main stage that everybody uses; the others are folded deeper. */
const FIRST = ["steps", "guidance_scale", "sampler"];

export function Settings({ tool, fields, without, onChange }: Props) {
  const known = ability(tool)?.fields.properties ?? {};
  const hidden = new Set([...NEVER, ...without]);
  const others = Object.entries(known).filter(
    ([name, schema]) => !hidden.has(name) && isSimple(schema),
  );
  const stages = stagesOf(tool);
  const main = stages.find(([stage]) => stage === "decoder") ?? stages[0];
  const own = [...others.map(([name]) => name), ...FOLDED].filter(
    (name) => name in known && !without.includes(name) && fields[name] !== undefined,
  );
  const changed = own.length > 0 || Object.keys(settingsOf(tool).value).length > 0;
  return (
    <details class="fold">
      <summary>
        <Icon name="sliders" />
        <span class="grow">{t("make.settings")}</span>
        <span class="soft settings-said">{summary(tool)}</span>
      </summary>
      <div class="stack">
        <div class="settings">
          <Seed />
          <Models tool={tool} fields={fields} onChange={onChange} />
          {main && <Stage tool={tool} stage={main} names={FIRST} />}
          {known["negative_prompt"] && !without.includes("negative_prompt") && (
            <Negative value={fields["negative_prompt"]} onChange={onChange} />
          )}
        </div>
        {(others.length > 0 || stages.length > 0) && (
          <details class="fold deeper">
            <summary>{t("make.more")}</summary>
            <div class="stack">
              <div class="settings">
                {others.map(([name, schema]) => (
                  <SchemaField
                    key={name}
                    name={name}
                    label={nameOf(name)}
                    schema={schema}
                    value={fields[name]}
                    onChange={(value) => onChange(name, value)}
                  />
                ))}
              </div>
              {stages.map((stage) => (
                <section key={stage[0]} class="stack">
                  <h3>{stageName(stage[0])}</h3>
                  <div class="settings">
                    <Stage tool={tool} stage={stage} without={stage === main ? FIRST : []} />
                  </div>
                </section>
              ))}
            </div>
          </details>
        )}
        {changed && (
          <Button
            kind="plain"
            icon="undo"
            label={t("make.reset")}
            onClick={() => {
              settingsOf(tool).value = {};
              for (const name of own) onChange(name, undefined);
            }}
          />
        )}
      </div>
    </details>
  );
}

/** What is not the model's own, in a few words. */
function summary(tool: string): string {
  const own = Object.values(settingsOf(tool).value).flatMap(Object.entries) as [string, unknown][];
  const said = own.slice(0, 3).map(([name, value]) => `${nameOf(name)} ${value}`);
  if (seed.value.locked) said.unshift(`${t("make.seed")} ${seed.value.value}`);
  return said.join(" · ");
}

type StageSettings = [string, Record<string, Schema>];

/** Stages that a tool uses, and their settings. */
function stagesOf(tool: string): StageSettings[] {
  const one = model.value;
  const prompted = "prior" in (ability(tool)?.fields.properties ?? {});
  return Object.entries(one?.settings ?? {}).filter(([stage]) => {
    const prior = one?.priors?.includes(stage) ?? false;
    if (tool === "upscale") {
      const others = [...(one?.decoders ?? ["decoder"]), ...(one?.optional ?? [])];
      return !prior && !others.includes(stage);
    }
    return prompted || !prior;
  });
}

/** A stage's name in the user's language, if there is one. */
function stageName(name: string): string {
  const key = `stage.${name}`;
  return key in en ? t(key as Key) : name;
}

interface NegativeProps {
  value: unknown;
  onChange: Props["onChange"];
}

function Negative({ value, onChange }: NegativeProps) {
  return (
    <div class="wide">
      <Text
        label={t("make.negative")}
        help={t("make.negative.help")}
        value={String(value ?? "")}
        onChange={(text) => onChange("negative_prompt", text || undefined)}
      />
    </div>
  );
}

/** A field's or setting's name in the user's language, if there is one. */
export function nameOf(name: string): string {
  for (const key of [`field.${name}`, `make.${name}`]) if (key in en) return t(key as Key);
  return name.replaceAll("_", " ").replace(/^./, (letter) => letter.toUpperCase());
}

/** Larger numbers the browser does not know exactly. */
const SEEDS: Schema = { type: "integer", minimum: 0, maximum: Number.MAX_SAFE_INTEGER };

export function Seed() {
  const { value, locked } = seed.value;
  const [typed, type] = useState<string | null>(null);
  const text = typed ?? String(value);
  const wrong = fault(text, SEEDS);
  const said = locked ? {} : { value: t("make.seed.random") };
  return (
    <Field label={t("make.seed")} help={t("make.seed.help")} {...{ ...said, wrong }}>
      {({ id, describedby }) => (
        <div class="pair">
          <input
            id={id}
            type="text"
            inputMode="numeric"
            aria-describedby={describedby}
            aria-invalid={wrong ? true : undefined}
            value={text}
            onInput={(event) => {
              const next = event.currentTarget.value;
              type(next);
              // Without a seed of one's own, each time is another.
              if (next.trim() === "") seed.value = { value, locked: false };
              else if (!fault(next, SEEDS)) seed.value = { value: Number(next), locked: true };
            }}
            onBlur={() => type(null)}
          />
          <Button
            bare
            icon={locked ? "lock" : "unlock"}
            pressed={locked}
            label={t("make.seed.lock")}
            onClick={() => {
              type(null);
              seed.value = { value, locked: !locked };
            }}
          />
        </div>
      )}
    </Field>
  );
}

function Models({ tool, fields, onChange }: Omit<Props, "without">) {
  const models = capabilities.value?.models ?? [];
  const one = model.value;
  const takes = ability(tool)?.fields.properties ?? {};
  return (
    <>
      {models.length > 1 && (
        <Choice
          label={t("make.model")}
          help={t("make.model.help")}
          value={one?.name ?? ""}
          options={models.map((each) => [each.name, each.name] as const)}
          onChange={chooseModel}
        />
      )}
      {(["prior", "decoder"] as const).map((name) => {
        const names = (name === "prior" ? one?.priors : one?.decoders) ?? [];
        if (!(name in takes) || names.length < 2) return null;
        const value = isServed(name, fields[name]) ? fields[name] : undefined;
        const schema: Schema = {
          enum: value === "none" ? [...names, "none"] : [...names],
          ...(takes[name]?.description !== undefined && { description: takes[name].description }),
        };
        return (
          <SchemaField
            key={name}
            name={name}
            label={t(`make.${name}`)}
            schema={schema}
            value={value}
            onChange={(next) => onChange(name, next)}
          />
        );
      })}
    </>
  );
}

interface StageProps {
  tool: string;
  stage: StageSettings;
  /** These alone, in this order. */
  names?: readonly string[];
  without?: readonly string[];
}

function Stage({ tool, stage: [stage, known], names, without = [] }: StageProps) {
  const values = settingsOf(tool);
  const shown = (names ?? Object.keys(known)).filter(
    (name) => known[name] && isSimple(known[name]) && !without.includes(name),
  );
  return (
    <>
      {shown.map((name) => (
        <SchemaField
          key={name}
          name={name}
          label={nameOf(name)}
          schema={known[name] as Schema}
          value={values.value[stage]?.[name]}
          onChange={(value) => setting(values, stage, name, value)}
        />
      ))}
    </>
  );
}
