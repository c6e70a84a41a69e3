/** Requests to the server's own API. Addresses are relative to the page: a proxy may add a path. */
import { signal } from "@preact/signals";
import type { Session } from "./types";

/** The server said no, or did not answer (`status` 0). */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly code: string | null = null,
    readonly field: string | null = null,
    readonly retryAfter: number | null = null,
  ) {
    super(message);
  }
}

export const session = signal<Session | null>(null);

export function address(path: string): string {
  return new URL(path.replace(/^\//, ""), new URL(".", document.baseURI)).href;
}

const SAFE = new Set(["GET", "HEAD"]);

async function send(method: string, path: string, body?: BodyInit | object): Promise<Response> {
  const headers = new Headers();
  const binary = body instanceof Blob;
  if (body !== undefined && !binary) headers.set("content-type", "application/json");
  if (binary && body.type) headers.set("content-type", body.type);
  const csrf = session.value?.csrf;
  if (csrf && !SAFE.has(method)) headers.set("x-csrf-token", csrf);
  const content = body === undefined ? {} : { body: binary ? body : JSON.stringify(body) };
  let answer: Response;
  try {
    answer = await fetch(address(path), { method, headers, ...content });
  } catch {
    throw new ApiError(0, "offline", "offline");
  }
  if (!answer.ok) throw await errorOf(answer);
  return answer;
}

async function errorOf(answer: Response): Promise<ApiError> {
  const retry = Number(answer.headers.get("retry-after")) || null;
  if (answer.status === 401 && session.value)
    session.value = { ...session.value, csrf: null, owner: null };
  try {
    const { error } = (await answer.json()) as {
      error: { message: string; code: string | null; param: string | null };
    };
    return new ApiError(answer.status, error.message, error.code, error.param, retry);
  } catch {
    return new ApiError(answer.status, `${answer.status} ${answer.statusText}`, null, null, retry);
  }
}

async function json<T>(answer: Promise<Response>): Promise<T> {
  return (await (await answer).json()) as T;
}

export const api = {
  get: <T>(path: string) => json<T>(send("GET", path)),
  post: <T>(path: string, body: object = {}) => json<T>(send("POST", path, body)),
  patch: <T>(path: string, body: object) => json<T>(send("PATCH", path, body)),
  delete: <T>(path: string) => json<T>(send("DELETE", path)),
  blob: async (path: string) => (await send("GET", path)).blob(),
  blobOf: async (path: string, body: object) => (await send("POST", path, body)).blob(),
  upload: <T>(file: Blob) => json<T>(send("POST", "v1/pictures", file)),
};
