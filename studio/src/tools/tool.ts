import type { ComponentType } from "preact";
import type { Key } from "../i18n";
import type { IconName } from "../ui/icon";

/** A place of the page. A file in `tools/` that is named in `tools/index.ts`. */
export interface Tool {
  /** The first part of its address. */
  id: string;
  title: Key;
  icon: IconName;
  group: "create" | "change" | "explore" | "keep";
  /** The ability that it needs of a model. */
  needs?: string;
  /** The tool to which it belongs; the list of tools has that alone. */
  within?: string;
  View: ComponentType<{ argument: string }>;
}
