"""The HTTP server: OpenAI's API, the status and the page, over the same router port as gRPC.

`body_model`, `bodies`, `route_bodies` and `chat_prompts` read requests; `openai_replies`,
`logprobs` and `error_replies` make answers; `openapi` describes both. None of them does input or
output.
`gateway` has the endpoints of a Starlette application, `text_answer` the work of two of them,
`status_events` the stream of the status, `page_files` the static files of the folder `page`;
`connection` and `server` listen, by uvicorn.
"""
