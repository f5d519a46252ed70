"""Failures, named once: permanent ones need a person, transient ones need another try.

Every message says what happened, to what, and what to do next; none carries a secret.
"""


class FashionPipelineError(Exception):
    """Base of every failure that this package raises on purpose."""


class PermanentError(FashionPipelineError):
    """Trying again with the same input and settings gives the same failure."""


class TransientError(FashionPipelineError):
    """The other side failed in a way that passes: trying again later may succeed."""


class SettingsError(PermanentError):
    """A setting is missing or cannot be used."""


class FeedError(PermanentError):
    """The bytes of a feed cannot be read as what its configuration says they are."""


class ForbiddenAddressError(PermanentError):
    """A URL leads to a scheme, port, host or address that is not allowed."""


class VerdictError(PermanentError):
    """A snapshot may not be applied: its guards refused it, or an earlier one is missing."""


class ModelError(PermanentError):
    """A model folder is missing, incomplete, or not the model that it should be."""


class CollectionError(PermanentError):
    """A collection is missing or has another shape or model than expected."""
