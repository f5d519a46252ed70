"""`fashion-pipeline model check`: what the model of the settings is and does here."""

from dataclasses import fields

from rich.console import Console
from rich.table import Table

from fashion_pipeline.embeddings.checks import self_check
from fashion_pipeline.parts import open_encoder
from fashion_pipeline.settings import Settings


def check_model(settings: Settings) -> int:
    """Load the candidate model, embed a built-in picture and text, print what it is; the exit code."""
    encoder = open_encoder(settings, settings.model_ref)
    try:
        report = self_check(encoder)
    finally:
        encoder.close()
    table = Table(show_header=False)
    for each in fields(report):
        table.add_row(each.name.replace("_", " "), str(getattr(report, each.name)))
    Console().print(table)
    return 0
