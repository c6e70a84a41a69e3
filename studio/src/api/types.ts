/**
 * The server's types under short names. All are of its OpenAPI document, from which `make studio`
 * generates schema.d.ts: they cannot drift from it.
 */
import type { components } from "./schema";

type Schemas = components["schemas"];

export type Ability = Schemas["Ability"];
export type Capabilities = Schemas["Capabilities"];
export type Collection = Schemas["Collection"];
export type Commands = Schemas["Commands"];
export type Drawn = Schemas["JobPicture"];
export type Failure = Schemas["Failure"];
export type Job = Schemas["Job"];
export type Model = Schemas["Model"];
export type Picture = Schemas["Picture"];
/** How an uploaded picture was made, as its file says. */
export type Recorded = Schemas["Record"];
export type Session = Schemas["Session"];
export type Upload = Schemas["Upload"];

export type Fields = Job["fields"];
export type JobState = Job["state"];
export type Unknown = Schemas["Words"]["unknown"][number];

/** The schema of a field or a setting; of a setting `name` is what requests call it. */
export type Schema = Partial<Schemas["StageSetting"]>;

/** A job as forms fill it; which fields it may have is the server's to say. */
export type Asked = Pick<Job, "ability" | "fields"> & Partial<Pick<Job, "inputs" | "model">>;

/** The data of an event of `/v1/events`, by its kind. */
export type Events = Schemas["Events"];
