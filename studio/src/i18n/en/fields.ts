/** Errors and names of fields and settings. A name without a text is shown as it is. */
export const fields = {
  "field.none": "none",
  "field.number": "This must be a number.",
  "field.whole": "This must be a whole number.",
  "field.least": "At least {n}.",
  "field.most": "At most {n}.",
  "field.above": "Above {n}.",
  "field.between": "From {low} to {high}.",
  "field.steps": "Steps",
  "field.guidance_scale": "Guidance",
  "field.sampler": "Sampler",
  "field.best_of": "Best of",
  "field.size": "Size",
  "field.aspect": "Proportions",
  "field.tile": "Edges that fit together",
} as const satisfies Record<string, string>;
