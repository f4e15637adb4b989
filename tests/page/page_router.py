"""A router without models that sends a text to the kernel whose name the text says most often."""

import re
from dataclasses import replace

from constellation.errors import InvalidRequest, UnknownKernel
from constellation.records import (
    Choice,
    FloatArray,
    KernelHealth,
    KernelSite,
    Mode,
    Route,
    RoutingOptions,
    Rule,
    TokenInfluence,
)
from constellation.wire.constellation_service import RouterState
from tests.wire.fakes import FakeRouter

PLAIN = ("python", "poetry", "law")


class PageRouter(FakeRouter):
    """Answers as the fake does, and routes by the words of the text."""

    def __init__(self, names: tuple[str, ...] = PLAIN, *, seated: int = 240) -> None:
        super().__init__()
        self.names = names
        first = self.table.sites[0]
        sites = tuple(_site(first, name, index, seated) for index, name in enumerate(names))
        self.table = replace(self.table, sites=sites)

    async def route(self, text: str, options: RoutingOptions) -> tuple[Route, FloatArray]:
        self._enter(text, None, options)
        return self._route(text, options), self.basin_of(text)

    def decide(self, options: RoutingOptions) -> Route:
        return self._route(str(self.calls[-1][0]), options)

    def _route(self, text: str, options: RoutingOptions) -> Route:
        words = re.findall(r"\S+", text)
        strange = [name for name in options.without if name not in self.names]
        if strange:
            raise UnknownKernel(strange[0], list(self.names))
        left = [name for name in self.names if name not in options.without]
        if not left:
            raise InvalidRequest("without", "all kernels", "at least one kernel is left")
        found = {name: 2.0 / (1 + 2 * words.count(name)) for name in left}
        order = sorted(left, key=found.__getitem__)
        if options.kernel is not None:
            order = [options.kernel]
        choices = tuple(
            Choice(
                kernel=name,
                seat=None,
                distance=found[name],
                weight=0.75 if place == 0 else 0.25 if place == 1 else 0.0,
                radius=1.0,
            )
            for place, name in enumerate(order)
        )
        said = [(index, word) for index, word in enumerate(words) if word in self.names]
        return Route(
            choices=choices,
            kernel=order[0],
            reason="pinned" if options.kernel else "nearest",
            rule=options.rule or Rule.BEARING,
            mode=options.mode or Mode.NEAREST,
            margin=choices[1].distance - choices[0].distance if len(choices) > 1 else 0.0,
            out_of_domain=not said,
            no_evidence=False,
            num_tokens=len(words),
            table_version=self.table.version,
            influences=tuple(
                TokenInfluence(text=f" {word}", position=index, shift=0.5 / (1 + place))
                for place, (index, word) in enumerate(said[:5])
            ),
            beyond_own=0.25,
        )

    def state(self) -> RouterState:
        health = {
            name: KernelHealth(
                name=name, up=True, pid=11, num_restarts=index, queue_depth=index, num_running=1
            )
            for index, name in enumerate(self.names)
        }
        return replace(super().state(), health=health, num_routed=dict.fromkeys(self.names, 3))


def _site(site: KernelSite, name: str, index: int, seated: int) -> KernelSite:
    return replace(
        site,
        name=name,
        seat=index * 7 % 240 if index < seated else None,
        phi_gauge=None if index == 1 else 0.4 + 0.1 * (index % 6),
        endpoint=None if index == 2 else f"127.0.0.1:{7000 + index}",
    )
