"""How hard the fetcher may work, and how patient it is; every default with its reason."""

from dataclasses import dataclass, field

from fashion_pipeline.images.inspect import InspectLimits

USER_AGENT = "fashion-pipeline/0.1 (product image fetcher)"


@dataclass(frozen=True)
class FetchLimits:
    """The limits of one run of the fetcher; times in seconds, sizes in bytes.

    `per_host_rate` is in requests a second, None for no limit; a Crawl-delay in robots.txt lowers it.
    Hosts in `robots_exempt_hosts` are a store's own CDN, which is asked on the store's behalf.
    """

    concurrency: int = 64  # at 20 ms to a CDN's edge this is 3,000 requests a second: never the limit
    per_host_concurrency: int = 8  # what one browser with a few tabs opens
    per_host_rate: float | None = 10.0  # a shop with 10,000 new pictures takes 17 minutes
    user_agent: str = USER_AGENT
    obey_robots: bool = True
    robots_exempt_hosts: frozenset[str] = frozenset()
    connect_timeout: float = 10.0
    read_timeout: float = 15.0  # the longest silence; a CDN that resizes on demand takes a few seconds
    timeout: float = 60.0  # a whole answer, so that a slow drip ends
    max_bytes: int = 20 * 2**20  # Shopify's own limit for a product image
    max_pixels: int = 50_000_000
    max_frames: int = 1_000
    tries: int = 3  # in one run, for failures that pass within seconds
    retry_delay: float = 0.5  # doubled with every try
    breaker_failures: int = 5  # in a row, until a host is left alone
    breaker_pause: float = 15.0  # doubled with every trip
    breaker_trips: int = 2  # after more, the host has no more turn in this run
    max_pause: float = 60.0  # a host that asks for a longer pause has no more turn in this run
    look_ahead: int = 2_000  # requests in hand while hosts are paused: about 2 MB
    threads: int = 8  # for hashing and writing, where a disk or an object store is slow
    pixels: InspectLimits = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pixels", InspectLimits(self.max_pixels, self.max_frames))
