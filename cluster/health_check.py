"""Ask a router over HTTP whether at least one kernel can answer; for health checks of containers.

    python -m cluster.health_check [https://HOST:50052/health]

Without an address, the default port on loopback is asked. Exit code 0 means yes; 1 means no, with
the reason on standard error. Only the standard library is imported, since the check runs every few
seconds. The certificate of a server with TLS is not verified: the check sends no secret, and
`/health` asks for none.
"""

import ssl
import sys
import urllib.error
import urllib.request
from typing import Final
from urllib.parse import urlsplit

from constellation.loopback import LOOPBACK_ADDRESS

URL: Final = f"http://{LOOPBACK_ADDRESS}:50052/health"
TIMEOUT_S: Final = 4.0


def problem(url: str) -> str | None:
    """Return why the router at `url` cannot answer, or None when it can."""
    if urlsplit(url).scheme not in ("http", "https"):
        return f"{url} is no address of a health check; give one such as {URL}"
    unverified = ssl.create_default_context()
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    own = urllib.request.ProxyHandler({})  # a proxy cannot reach this container's loopback
    opener = urllib.request.build_opener(own, urllib.request.HTTPSHandler(context=unverified))
    try:
        with opener.open(url, timeout=TIMEOUT_S):
            return None
    except urllib.error.HTTPError as error:
        with error:
            return f"{url} answers with status {error.code}"
    except (OSError, urllib.error.URLError) as error:
        return f"{url} does not answer: {error}"


def main() -> None:
    """Check the address given as the only argument, or the default address."""
    if found := problem(sys.argv[1] if len(sys.argv) > 1 else URL):
        sys.stderr.write(f"{found}\n")
        raise SystemExit(1)


if __name__ == "__main__":
    main()
