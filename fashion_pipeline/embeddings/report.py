"""What the pipeline is told and what it tells: options, items, failures, the report."""

from dataclasses import dataclass

from fashion_pipeline.embeddings.decode import DecodeOptions


@dataclass(frozen=True)
class EmbedItem:
    """An image to embed, by the SHA-256 of its bytes. Items of one run are distinct."""

    sha256: str


@dataclass(frozen=True)
class EmbedFailure:
    """An image without a vector. `error` is a class to count by.

    `permanent` says that these bytes will never give one: `empty`, `not_an_image`, `unsupported_format`,
    `too_many_pixels`, `truncated`, `decode_failed`, `decode_memory`, `decode_crashed`, `bad_vector`. What is
    not permanent is a fault of the store: `read_failed`, and `other_bytes` where they do not have that SHA-256.
    """

    sha256: str
    error: str
    detail: str
    permanent: bool


@dataclass(frozen=True)
class PipelineOptions:
    """How the work is cut; None is chosen from the machine and the encoder.

    `workers`: decode processes (the processors this process may use, at most 16; one for a small job).
    `readers`: threads that read bytes (4 hide the latency of an object store at the rates of one GPU).
    `batch_size`: images per encode, less where one would take more than half of `batch_seconds`.
    `queue_batches`: batches decoded ahead. `chunk`: images per message to a worker. `batch_rows`,
    `batch_seconds`: an `EmbeddedBatch` is handed over at whichever comes first, so that a crash repeats less
    than a minute of work. `memory_limit`: address space of a worker in bytes. `decode_timeout`: seconds per
    image after which a worker is killed. `decode_options`: draft where the model's folder says that it keeps
    the vectors. `decode`: the decoder as `module:function`, imported in the workers.
    """

    workers: int | None = None
    readers: int = 4
    batch_size: int | None = None
    queue_batches: int = 3
    chunk: int = 8
    batch_rows: int = 2048
    batch_seconds: float = 30.0
    memory_limit: int | None = 2 << 30
    decode_timeout: float = 60.0
    decode_options: DecodeOptions | None = None
    decode: str = "fashion_pipeline.embeddings.decode:decode_picture"


@dataclass(frozen=True)
class EmbedReport:
    """One run of the pipeline.

    `seconds` is wall time; `stage_seconds` holds `read` and `decode` (summed over threads and workers),
    `load`, `encode` and `write` (the caller's `on_batch`). `encoder_wait_share` is the part of the time after
    loading in which the encoder had nothing to do. `images_per_second` leaves the loading out. Peaks are
    bytes of resident memory, of this process since its start and of the largest worker, and of a GPU's memory.
    Where nothing was due, `device` and `precision` are None and no model was loaded.
    """

    requested: int
    embedded: int
    failed: dict[str, int]
    seconds: float
    stage_seconds: dict[str, float]
    encoder_wait_share: float
    images_per_second: float
    device: str | None
    precision: str | None
    decode_mode: str
    batch_size: int | None
    workers: int
    model_id: str
    peak_memory: int
    worker_peak_memory: int
    device_peak_memory: int

    def cost_per_thousand(self, price_per_hour: float) -> float | None:
        """What 1,000 images cost at the machine's price per hour, loading included; None where there are none."""
        return self.seconds / 3600 * price_per_hour / self.embedded * 1000 if self.embedded else None
