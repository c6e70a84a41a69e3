import { canvas } from "./canvas";
import { common } from "./common";
import { fields } from "./fields";
import { gallery } from "./gallery";
import { make } from "./make";
import { tools } from "./tools";

/** English, from which the keys are taken; a file an area. */
export const en = { ...common, ...fields, ...make, ...canvas, ...gallery, ...tools };

export type Key = keyof typeof en;
export type Catalogue = Record<Key, string>;
