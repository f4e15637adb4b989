"""Ray Serve doing the same work: a gRPC ingress that routes by the same code, a no-op behind it.

Settings are the documented ones for throughput: RAY_SERVE_THROUGHPUT_OPTIMIZED=1 (user code and
router in the replica's own loop, gRPC between replicas, buffered logs), no access log,
`max_ongoing_requests` far above the load. How calls reach the ingress is `--serve` of
`benchmarks.dispatch`.
"""

from pathlib import Path
from typing import Any

import grpc
from ray import serve
from ray.serve.config import gRPCOptions
from ray.serve.schema import LoggingConfig

from constellation.coordizer.coordizer import Coordizer
from constellation.routing.policy import RoutingPolicy
from constellation.v1 import constellation_pb2
from constellation.wire import convert
from constellation.wire.table_file import unpack_table

METHOD = "/bench.Serve/Generate"
APPLICATION = "dispatch"
ONGOING_MAX = 4096


def add_servicer(servicer: Any, server: Any) -> None:
    """Register the one unary method, as generated code would."""
    handler = grpc.unary_unary_rpc_method_handler(
        servicer.Generate,
        request_deserializer=constellation_pb2.GenerateRequest.FromString,
        response_serializer=constellation_pb2.GenerateReply.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("bench.Serve", {"Generate": handler}),)
    )


@serve.deployment(
    max_ongoing_requests=ONGOING_MAX,
    ray_actor_options={"num_cpus": 0},
    logging_config=LoggingConfig(enable_access_log=False, log_level="ERROR"),
)
class Nothing:
    """The kernel: receives the tokens, says one word."""

    async def generate(self, tokens: list[int]) -> str:
        return "ok"


@serve.deployment(
    max_ongoing_requests=ONGOING_MAX,
    ray_actor_options={"num_cpus": 0},
    logging_config=LoggingConfig(enable_access_log=False, log_level="ERROR"),
)
class Ingress:
    """The router: the same coordizer, policy and reply as ours."""

    def __init__(self, kernel: Any, coordizer: str, table: bytes) -> None:
        self._kernel = kernel
        self._coordizer = Coordizer.load(Path(coordizer))
        self._policy = RoutingPolicy(unpack_table(table))

    async def Generate(  # noqa: N802 - named like the RPC
        self, request: constellation_pb2.GenerateRequest
    ) -> constellation_pb2.GenerateReply:
        tokens = self._coordizer.encode(request.prompt)
        route = self._policy.decide(self._coordizer.basin(tokens), num_tokens=len(tokens))
        text = await self._kernel.generate.remote(tokens.tolist())
        return constellation_pb2.GenerateReply(
            route=convert.route_to_message(route), text=text, num_tokens=1
        )


def start(coordizer: str, table: bytes, *, port: int, http_port: int) -> None:
    """Start Serve with its gRPC proxy on `port` and deploy both."""
    serve.start(
        proxy_location="HeadOnly",
        http_options={"host": "127.0.0.1", "port": http_port},
        grpc_options=gRPCOptions(
            port=port, grpc_servicer_functions=["benchmarks.serve_peer.add_servicer"]
        ),
        logging_config=LoggingConfig(enable_access_log=False, log_level="ERROR"),
    )
    serve.run(Ingress.bind(Nothing.bind(), coordizer, table), name=APPLICATION)


def direct_endpoint() -> str:
    """Return host:port of the ingress replica's own gRPC server, as Serve publishes it."""
    details = serve.context._get_global_client().get_serve_details()
    for group in details["target_groups"]:
        if group["protocol"].lower() == "grpc" and group["app_name"] == APPLICATION:
            target = group["targets"][0]
            return f"{target['ip']}:{target['port']}"
    raise RuntimeError(f"Serve publishes no direct gRPC ingress: {details['target_groups']}")


def metadata() -> tuple[tuple[str, str], ...]:
    """Return the call metadata that names the application."""
    return (("application", APPLICATION),)
