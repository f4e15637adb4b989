"""Limits of one client: requests at the same time, and requests a second.

Time is an argument. A client is a name that the caller chooses: the subject of a certificate, or an
address.

Source: the token bucket, Turner, "New directions in communications", IEEE Communications Magazine
24 (1986).
"""

from collections import OrderedDict
from dataclasses import dataclass, field

from constellation.errors import ConfigError, Overloaded

CLIENTS_MAX = 65_536
"""Clients that are remembered; beyond that the client seen longest ago is dropped."""


@dataclass(slots=True)
class _Account:
    """State of one client."""

    allowance: float
    """Requests that the client may begin now, up to a second's worth."""
    since_s: float
    """Time at which `allowance` was computed."""
    num_running: int = 0


@dataclass(slots=True)
class ClientLimits:
    """Decides which requests of which client may begin.

    Attributes:
        requests_max: Requests of one client at the same time; None means no limit.
        rate: Requests of one client a second, of which a second's worth (at least one) may come at
            once; None means no limit.
    """

    requests_max: int | None = None
    rate: float | None = None
    _accounts: OrderedDict[str, _Account] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        if self.requests_max is not None and self.requests_max < 1:
            raise ConfigError(f"requests_max is {self.requests_max}; allowed: 1 or more, or None")
        if self.rate is not None and not self.rate > 0:
            raise ConfigError(f"rate is {self.rate}; allowed: above 0 a second, or None")

    def __len__(self) -> int:
        return len(self._accounts)

    @property
    def are_on(self) -> bool:
        """Whether there is any limit."""
        return self.requests_max is not None or self.rate is not None

    def begin(self, client: str, *, now_s: float) -> None:
        """Begin a request of `client`; `end` must follow.

        Raises:
            Overloaded: The client has too many requests under way, or began too many lately.
        """
        if not self.are_on:
            return
        account = self._account(client, now_s)
        if self.requests_max is not None and account.num_running >= self.requests_max:
            what = f"client {client!r}, which may have {self.requests_max} at a time,"
            raise Overloaded(what, depth=account.num_running, retry_after_s=0.1)
        if self.rate is not None:
            if account.allowance < 1:
                what = f"client {client!r}, which may send {self.rate:g} a second,"
                wait_s = (1 - account.allowance) / self.rate
                raise Overloaded(what, depth=account.num_running, retry_after_s=wait_s)
            account.allowance -= 1
        account.num_running += 1

    def end(self, client: str, *, now_s: float) -> None:
        """End a request of `client`."""
        account = self._accounts.get(client)
        if account is None or account.num_running == 0:  # limits are off, or it was forgotten
            return
        account.num_running -= 1
        self._refill(account, now_s)
        if account.num_running == 0 and account.allowance == self._burst:
            del self._accounts[client]

    @property
    def _burst(self) -> float:
        return 1.0 if self.rate is None else max(1.0, self.rate)

    def _account(self, client: str, now_s: float) -> _Account:
        account = self._accounts.get(client)
        if account is None:
            account = self._accounts[client] = _Account(self._burst, now_s)
            if len(self._accounts) > CLIENTS_MAX:
                self._accounts.popitem(last=False)
        self._accounts.move_to_end(client)
        self._refill(account, now_s)
        return account

    def _refill(self, account: _Account, now_s: float) -> None:
        gained = (self.rate or 0.0) * (now_s - account.since_s)
        account.allowance = min(self._burst, account.allowance + gained)
        account.since_s = now_s
