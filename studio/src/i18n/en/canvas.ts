export const canvas = {} as const satisfies Record<string, string>;
