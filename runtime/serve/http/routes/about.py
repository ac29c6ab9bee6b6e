"""What the service says of itself: its bundle, its health, its metrics.

The health routes have second names, those of the Open Inference Protocol ("KServe v2"), for what
watches models by it. Cells are described at `/v1` only.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

import c2t
from c2t.runtime.bundle.gene_vocabulary import GeneVocabulary
from c2t.runtime.bundle.manifest import GENES_NAME, Manifest
from c2t.runtime.cells.genes.species import species_of_ids
from c2t.runtime.describe.describer import generation_settings
from c2t.runtime.serve.http.metrics import METRICS_TYPE, Metrics
from c2t.runtime.serve.http.options import HttpOptions
from c2t.runtime.serve.http.readiness import Readiness
from c2t.runtime.serve.http.wire.answers import json_response
from c2t.runtime.serve.http.wire.problems import HttpError, shown
from c2t.runtime.serve.jobs.jobs import Jobs
from c2t.runtime.serve.room.messages import CELLS_MAX
from c2t.runtime.serve.room.room import EngineRoom

INTENDED_USE = (
    "Non-critical use, reviewed by a person. The texts are written by a language model: they can "
    "be wrong however sure they sound, and decide nothing by themselves."
)


class BundleSettings(msgspec.Struct, kw_only=True):
    """How cells are described where a request says nothing else."""

    max_new_tokens: int
    num_beams: int
    no_repeat_ngram_size: int
    drafts: bool


class BundleModels(msgspec.Struct, kw_only=True):
    """The models that the bundle was made from; null where it has no such part."""

    encoder: str | None
    projector: str | None
    decoder: str | None
    random_weights: bool


class BundleLicence(msgspec.Struct):
    """The licence of one part of the bundle."""

    part: str
    licence: str
    notice: str


class ServiceLimits(msgspec.Struct, kw_only=True):
    """What is refused when it is exceeded."""

    cells: int
    waiting_cells: int
    body_bytes: int
    upload_bytes: int | None
    open_requests: int


class BundleInfo(msgspec.Struct, kw_only=True):
    """What is served.

    Args:
        digest: SHA-256 of the manifest, and so of the whole bundle.
        engine: What runs it; null while it is being opened.
        c2t_version: Of the service.
        made_with: Version of c2t that made the bundle.
        family: Whose kind of model it is.
        tasks: What it can do, by the names of the commands.
        settings: Null where it writes no texts.
        inputs: What a cell becomes for it, in words.
        species: Whose cells it describes; null if its genes do not say.
        genes: How many it knows; null where it takes any names.
        context: Most text tokens of a prompt and its text together.
        jobs: Whether files can be described in the background.
        limits: Most cells of a request, cells that may wait, bytes of a JSON body and of an
            uploaded file, and requests at the same time.
        intended_use: To be shown beside every text.
    """

    name: str
    digest: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    precision: str
    engine: str | None
    c2t_version: str
    made_with: str
    created: str
    family: str
    tasks: list[str]
    models: BundleModels
    settings: BundleSettings | None
    inputs: str
    species: str | None
    genes: int | None
    context: int | None
    licences: list[BundleLicence]
    jobs: bool
    limits: ServiceLimits
    intended_use: str


class Health(msgspec.Struct):
    """The service can do what was asked about."""

    status: Literal["ok"] = "ok"


class ServerMetadata(msgspec.Struct):
    """The Open Inference Protocol's server metadata."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(msgspec.Struct):
    """One input or output."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(msgspec.Struct):
    """The Open Inference Protocol's model metadata; the version is the bundle's digest."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class AboutRoutes:
    """Answers what is asked about the service.

    Args:
        room: Its bundle.
        options: Limits of the door.
        readiness: Whether it can describe.
        metrics: What it counted.
        jobs: Its jobs; None: it has none.
    """

    def __init__(
        self,
        room: EngineRoom,
        options: HttpOptions,
        *,
        readiness: Readiness,
        metrics: Metrics,
        jobs: Jobs | None,
    ) -> None:
        self._room = room
        self._readiness = readiness
        self._metrics = metrics
        self._info = _bundle_info(room, options, jobs=jobs)

    async def bundle(self, request: Request) -> Response:
        """`GET /v1/bundle`."""
        self._info.engine = self._readiness.engine
        return json_response(self._info)

    async def live(self, request: Request) -> Response:
        """`GET /healthz`: the process answers."""
        return json_response(Health())

    async def ready(self, request: Request) -> Response:
        """`GET /readyz`: cells can be described."""
        if (problem := self._readiness.problem) is not None:
            headers = {"Retry-After": "1"}
            raise HttpError(503, problem.problem, hint=problem.hint, headers=headers)
        return json_response(Health())

    async def metrics(self, request: Request) -> Response:
        """`GET /metrics`."""
        if self._readiness.engine is not None:
            self._metrics.serves(self._info.digest, self._readiness.engine)
        return Response(self._metrics.exposition(), headers={"Content-Type": METRICS_TYPE})

    async def server(self, request: Request) -> Response:
        """`GET /v2`."""
        return json_response(ServerMetadata("c2t", c2t.__version__, []))

    async def model(self, request: Request) -> Response:
        """`GET /v2/models/{name}`."""
        self._check_name(request)
        cells = TensorMetadata("cells", "BYTES", [-1])
        texts = TensorMetadata("texts", "BYTES", [-1])
        about = ModelMetadata(self._info.name, [self._info.digest], "c2t", [cells], [texts])
        return json_response(about)

    async def model_ready(self, request: Request) -> Response:
        """`GET /v2/models/{name}/ready`."""
        self._check_name(request)
        return await self.ready(request)

    def _check_name(self, request: Request) -> None:
        if (name := request.path_params["name"]) != self._info.name:
            problem = f"there is no model {shown(name)}"
            raise HttpError(404, problem, hint=f"the model is {self._info.name!r}")


def _bundle_info(room: EngineRoom, options: HttpOptions, *, jobs: Jobs | None) -> BundleInfo:
    bundle, manifest = room.model.bundle, room.model.bundle.manifest
    encoder, decoder = manifest.encoder_part, manifest.decoder_part
    genes = bundle.genes if GENES_NAME in manifest.files else None
    return BundleInfo(
        name=manifest.name,
        digest=bundle.digest,
        precision=manifest.precision,
        engine=None,
        c2t_version=c2t.__version__,
        made_with=manifest.origin.c2t_version,
        created=manifest.origin.created,
        family=manifest.family,
        tasks=list(manifest.tasks),
        models=BundleModels(
            encoder=None if encoder is None else encoder.model,
            projector=None if encoder is None else manifest.projector.kind,
            decoder=None if decoder is None else decoder.model,
            random_weights=manifest.origin.random_weights,
        ),
        settings=_bundle_settings(room),
        inputs=manifest.input_said,
        species=_species(manifest, genes),
        genes=None if genes is None else len(genes),
        context=None if decoder is None else decoder.max_positions,
        licences=[BundleLicence(**asdict(licence)) for licence in manifest.licences],
        jobs=jobs is not None,
        limits=ServiceLimits(
            cells=CELLS_MAX,
            waiting_cells=room.limits.waiting_cells,
            body_bytes=options.body_bytes,
            upload_bytes=None if jobs is None else jobs.options.upload_bytes,
            open_requests=options.open_requests,
        ),
        intended_use=INTENDED_USE,
    )


def _bundle_settings(room: EngineRoom) -> BundleSettings | None:
    """How cells are described where a request says nothing else."""
    manifest, described = room.model.bundle.manifest, room.model.options
    if not manifest.has_decoder:
        return None
    generation = generation_settings(manifest.generation, described)
    return BundleSettings(
        max_new_tokens=generation.max_new_tokens,
        num_beams=generation.num_beams,
        no_repeat_ngram_size=generation.no_repeat_ngram_size,
        drafts=described.drafts,
    )


def _species(manifest: Manifest, genes: GeneVocabulary | None) -> str | None:
    if manifest.gene_sentence is not None or genes is None:
        return manifest.species_known
    species = species_of_ids(name.decode("ascii") for name in genes.ensembl_id)
    return None if species is None else species.name
