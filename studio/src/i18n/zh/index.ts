import type { Catalogue } from "../en";
import { canvas } from "./canvas";
import { common } from "./common";
import { fields } from "./fields";
import { gallery } from "./gallery";
import { make } from "./make";
import { tools } from "./tools";

export const zh: Catalogue = { ...common, ...fields, ...make, ...canvas, ...gallery, ...tools };
