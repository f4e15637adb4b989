"""The HTTP door: what OpenAI's clients say, over the same router port as gRPC.

`body_model`, `bodies` and `chat_prompts` read requests; `openai_replies`, `logprobs` and
`error_replies` make answers; `openapi` describes both. None of them does input or output. `gateway`
has the endpoints of a Starlette application, `text_answer` the work of two of them; `connection`
and `server` listen, by uvicorn.
"""
