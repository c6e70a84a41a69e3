export const tools = {} as const satisfies Record<string, string>;
