/** What is folded away: the seed, the model, and whatever settings its stages have. */
import type { Fields, Schema } from "../api/types";
import { type Key, t } from "../i18n";
import { en } from "../i18n/en";
import { ability, capabilities, chooseModel, model } from "../state/capabilities";
import { seed, setting, settings } from "../state/form";
import { Button } from "./button";
import { Choice, Field } from "./field";
import { Icon } from "./icon";
import { isSimple, SchemaField } from "./schema";

interface Props {
  tool: string;
  fields: Fields;
  /** Fields that the tool shows itself. */
  without: readonly string[];
  onChange: (name: string, value: unknown) => void;
}

const NEVER = ["seed", "settings", "decoder", "prior"];
/** Settings of a stage that come first; the others follow in the server's order. */
const FIRST = ["steps", "guidance_scale", "sampler"];

export function Settings({ tool, fields, without, onChange }: Props) {
  const known = Object.entries(ability(tool)?.fields.properties ?? {});
  const hidden = new Set([...NEVER, ...without]);
  return (
    <details class="fold">
      <summary>
        <Icon name="sliders" />
        {t("make.settings")}
      </summary>
      <div class="stack">
        <Seed />
        <Models tool={tool} fields={fields} onChange={onChange} />
        {known
          .filter(([name, schema]) => !hidden.has(name) && isSimple(schema))
          .map(([name, schema]) => (
            <SchemaField
              key={name}
              label={nameOf(name)}
              schema={schema}
              value={fields[name]}
              onChange={(value) => onChange(name, value)}
            />
          ))}
        <Stages />
      </div>
    </details>
  );
}

/** A field's or setting's name in the user's language, if there is one. */
export function nameOf(name: string): string {
  for (const key of [`field.${name}`, `make.${name}`]) if (key in en) return t(key as Key);
  return name.replaceAll("_", " ").replace(/^./, (letter) => letter.toUpperCase());
}

function Seed() {
  const { value, locked } = seed.value;
  return (
    <Field label={t("make.seed")} {...(locked ? {} : { value: t("make.seed.random") })}>
      {({ id }) => (
        <div class="pair">
          <input
            id={id}
            type="number"
            min={0}
            value={value}
            onInput={(event) => {
              seed.value = { value: Number(event.currentTarget.value) || 0, locked: true };
            }}
          />
          <Button
            bare
            icon={locked ? "lock" : "unlock"}
            pressed={locked}
            label={t("make.seed.lock")}
            onClick={() => {
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
          value={one?.name ?? ""}
          options={models.map((each) => [each.name, each.name] as const)}
          onChange={chooseModel}
        />
      )}
      {(["prior", "decoder"] as const).map((name) => {
        const names = (name === "prior" ? one?.priors : one?.decoders) ?? [];
        if (!(name in takes) || names.length < 2) return null;
        const schema: Schema = {
          enum: [...names],
          ...(takes[name]?.description !== undefined && { description: takes[name].description }),
        };
        return (
          <SchemaField
            key={name}
            label={t(`make.${name}`)}
            schema={schema}
            value={fields[name]}
            onChange={(value) => onChange(name, value)}
          />
        );
      })}
    </>
  );
}

/** The settings of each stage that the model has. */
function Stages() {
  const stages = Object.entries(model.value?.settings ?? {});
  return (
    <>
      {stages.map(([stage, known]) => (
        <details key={stage} class="fold" open={stage === "decoder"}>
          <summary>{t("make.stage", { stage })}</summary>
          <div class="stack">
            {ordered(known)
              .filter(([, schema]) => isSimple(schema))
              .map(([name, schema]) => (
                <SchemaField
                  key={name}
                  label={nameOf(name)}
                  schema={schema}
                  value={settings.value[stage]?.[name]}
                  onChange={(value) => setting(stage, name, value)}
                />
              ))}
          </div>
        </details>
      ))}
      {Object.keys(settings.value).length > 0 && (
        <Button
          kind="plain"
          label={t("make.reset")}
          onClick={() => {
            settings.value = {};
          }}
        />
      )}
    </>
  );
}

function ordered(known: Record<string, Schema>): [string, Schema][] {
  const place = (name: string) => (FIRST.includes(name) ? FIRST.indexOf(name) : FIRST.length);
  return Object.entries(known).sort(([a], [b]) => place(a) - place(b));
}
