"""The server: OpenAI's Images API and jobs over a durable queue, drawn by a process of its own.

`openai` translates between OpenAI's wire format and a `Call`, `store` keeps what was asked and
what was drawn, `engine` gives waiting jobs to a `worker` in batches, and `app` joins them to HTTP.
"""
