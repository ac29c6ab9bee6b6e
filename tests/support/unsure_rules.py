"""Rules for unsure cells, and bundles that state one."""

from __future__ import annotations

import shutil
from pathlib import Path

from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.bundle.hashes import file_entries
from c2t.runtime.bundle.manifest_file import write_manifest
from c2t.runtime.bundle.unsure_rule import RULE_VERSION, UNSURE_NAME, FittedOn, UnsureRule
from c2t.runtime.system.checked_read import json_bytes


def make_rule(**changes) -> UnsureRule:
    """A rule that halves every confidence, and calls what is below 0.3 unsure."""
    rule = {
        "version": RULE_VERSION,
        "confidence": (0.0, 1.0),
        "probability": (0.0, 0.5),
        "threshold": 0.3,
        "target": 0.95,
        "method": "platt",
        "fitted_on": (FittedOn(file="x.h5ad", sha256="0" * 64, cells=9, label_column="kind"),),
        "cells": 9,
        "right": 0.8,
        "answered": 0.7,
        "answered_right": 0.96,
        "ece_before": 0.1,
        "ece_after": 0.02,
        "generation": {"num_beams": "1", "no_repeat_ngram_size": "0"},
        "bundle": "b" * 64,
        "c2t_version": "0.1.0",
        "date": "2026-11-30",
    }
    return UnsureRule(**{**rule, **changes})


def bundle_with(rule: UnsureRule, source: Path, folder: Path) -> Path:
    """A copy of a bundle that states a rule."""
    shutil.copytree(source, folder)
    (folder / UNSURE_NAME).write_bytes(json_bytes(rule))
    manifest = open_bundle(folder, verify=False).manifest
    files = dict(manifest.files) | file_entries(folder, [UNSURE_NAME])
    write_manifest(folder, manifest.replace(files=files))
    return folder
