/** The server's types, under short names. They are generated from its OpenAPI document: `make studio`. */

export type JobState = "queued" | "running" | "done" | "failed" | "cancelled";
export type Fields = Record<string, unknown>;

export interface Drawn {
  id: string;
  seed: number;
  width: number;
  height: number;
  format: "png" | "jpeg" | "webp";
  bytes: number;
  url: string;
}

export interface Failure {
  code: string;
  message: string;
  field: string | null;
}

export interface Job {
  id: string;
  ability: string;
  fields: Fields;
  inputs: Record<string, string>;
  model: string;
  state: JobState;
  place: number | null;
  created: number;
  started: number | null;
  finished: number | null;
  failure: Failure | null;
  pictures: Drawn[];
}

export interface Picture extends Drawn {
  file: string;
  job: string;
  ability: string;
  fields: Fields;
  inputs: Record<string, string>;
  model: string;
  created: number;
  favourite: boolean;
  tags: string[];
  collections: string[];
  deleted: number | null;
}

/** The schema of a field or a setting: the part of JSON Schema that forms are made of. */
export interface Schema {
  type?: string | string[];
  anyOf?: Schema[];
  enum?: (string | number)[];
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
  default?: unknown;
  description?: string;
  /** Of a setting: what requests call it. */
  name?: string;
  nullable?: boolean;
}

export interface Ability {
  help: string;
  needs: string[];
  fields: { properties: Record<string, Schema>; required: string[] };
  inputs: Record<string, { description: string; required: boolean; or_text: boolean }>;
}

export interface Model {
  name: string;
  abilities: string[];
  default: boolean;
  priors?: string[];
  decoders?: string[];
  size?: [number, number];
  words?: string[];
  settings?: Record<string, Record<string, Schema>>;
}

export interface Capabilities {
  abilities: Record<string, Ability>;
  models: Model[];
  limits: { pictures: number; queued: number; body_bytes: number; side: number };
}

export interface Session {
  needs_key: boolean;
  owner: string | null;
  csrf: string | null;
}

export interface Upload {
  id: string;
  width: number;
  height: number;
  record: Recorded | null;
}

/** How an uploaded picture was made, as its file says. */
export interface Recorded {
  ability: string;
  fields: Fields;
  seed: number;
  /** Field: digest of a picture that it began from. */
  inputs: Record<string, string>;
  /** As the picture names it. */
  model: string;
  /** The served model that it is. */
  served: string | null;
  program: string;
  /** What is not taken over, and why. */
  left: string[];
}

export interface Asked {
  ability: string;
  fields: Fields;
  inputs?: Record<string, string>;
  model?: string;
}

export interface Unknown {
  word: string;
  near: string[];
}
