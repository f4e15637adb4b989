"""The HTTP door: what OpenAI's clients say, over the same router port as gRPC.

`kinds`, `bodies` and `prompts` read requests; `replies`, `logprobs` and `problems` write answers;
`openapi` describes both. None of them does input or output. `gateway` handles requests, `server`
listens.
"""
