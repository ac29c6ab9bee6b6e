"""The species that gene ids, genomes and names of organisms stand for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Species:
    """A species and the ways in which files name it.

    Args:
        name: Its English name.
        latin: Its scientific name.
        taxon: Its number in NCBI's taxonomy, 0 where it is not known.
        id_prefix: How its Ensembl (FlyBase, WormBase) gene ids begin, in upper case.
        genomes: How the names of its genomes begin, in lower case.
    """

    name: str
    latin: str = ""
    taxon: int = 0
    id_prefix: str = ""
    genomes: tuple[str, ...] = ()


SPECIES = (
    Species("human", "Homo sapiens", 9606, "ENSG", ("grch3", "hg18", "hg19", "hg38", "chm13")),
    Species("mouse", "Mus musculus", 10090, "ENSMUSG", ("grcm3", "mm9", "mm10", "mm39")),
    Species("rat", "Rattus norvegicus", 10116, "ENSRNOG", ("rnor", "mratbn", "rn5", "rn6", "rn7")),
    Species("rhesus macaque", "Macaca mulatta", 9544, "ENSMMUG", ("mmul", "rhemac")),
    Species("crab-eating macaque", "Macaca fascicularis", 9541, "ENSMFAG", ("macfas",)),
    Species("marmoset", "Callithrix jacchus", 9483, "ENSCJAG", ("caljac",)),
    Species("chimpanzee", "Pan troglodytes", 9598, "ENSPTRG", ("pantro", "pan_tro")),
    Species("gorilla", "Gorilla gorilla", 9593, "ENSGGOG", ("gorgor",)),
    Species("mouse lemur", "Microcebus murinus", 30608, "ENSMICG", ("micmur", "mmur")),
    Species("pig", "Sus scrofa", 9823, "ENSSSCG", ("sscrofa", "susscr")),
    Species("cow", "Bos taurus", 9913, "ENSBTAG", ("ars-ucd", "bostau")),
    Species("sheep", "Ovis aries", 9940, "ENSOARG", ("oviari",)),
    Species("dog", "Canis lupus familiaris", 9615, "ENSCAFG", ("canfam",)),
    Species("cat", "Felis catus", 9685, "ENSFCAG", ("felcat",)),
    Species("rabbit", "Oryctolagus cuniculus", 9986, "ENSOCUG", ("orycun",)),
    Species("chicken", "Gallus gallus", 9031, "ENSGALG", ("galgal", "grcg")),
    Species("zebrafish", "Danio rerio", 7955, "ENSDARG", ("grcz", "danrer")),
    Species("frog", "Xenopus tropicalis", 8364, "ENSXETG", ("xentro",)),
    Species("fly", "Drosophila melanogaster", 7227, "FBGN", ("bdgp", "dm3", "dm6")),
    Species("worm", "Caenorhabditis elegans", 6239, "WBGENE", ("wbcel", "ce10", "ce11")),
)
# Taxa in a file of cells that are no species of cells: viruses, spike-ins.
_NO_ANIMALS = (2697049, 32630)
_BY_PREFIX = {species.id_prefix: species for species in SPECIES}
_BY_TAXON = {species.taxon: species for species in SPECIES}
_ID = re.compile(r"(?<![A-Z0-9])(ENS[A-Z]{0,6}?G(?=\d)|FBGN(?=\d)|WBGENE(?=\d))\d{6,}")
_GENOMES = {genome: species for species in SPECIES for genome in species.genomes}
# "GRCh38_CD3E", "GRCh38-CD3E", "mm10___Cd3e", "hg19.CD3E", "GRCh38-2020-A_CD3E"
_GENOME_PREFIX = re.compile(
    r"(?:premrna[_-]+)?(" + "|".join(_GENOMES) + r")[a-z0-9]*?"
    r"(?:[_.\-]+(?:premrna|p\d+|20\d\d[_.-]?[a-z]?)(?=[_.\-]))?[_.\-]+",
    re.IGNORECASE,
)
_TAXON = re.compile(r"(?:ncbi[ _]?tax(?:on|id)?[:_ ]*)?(\d+)\Z", re.IGNORECASE)
_BINOMIAL = re.compile(r"[A-Z][a-z]{2,} [a-z]{3,}\Z")
_NOT_STATED = frozenset(
    ("", "nan", "na", "n/a", "none", "null", "unknown", "not available", "unspecified", "other")
)
_SAMPLE = 4000  # names looked at


def species_of_id(name: str) -> Species | None:
    """The species of the Ensembl id in a name, None without one."""
    match = _ID.search(name.upper())
    if match is None:
        return None
    known = _BY_PREFIX.get(match[1])
    return known or Species(f"the species of `{match[1]}…`", id_prefix=match[1])


def species_of_ids(names: Iterable[str]) -> Species | None:
    """The species of most of these ids, None if most are no ids."""
    seen = [species_of_id(name) for name in names]
    common, count = Counter(seen).most_common(1)[0] if seen else (None, 0)
    return common if count * 2 > len(seen) else None


def foreign_ids(names: Sequence[str], ours: Species) -> Species | None:
    """The other species whose ids a column of names holds instead of ours, None if none.

    A column of another species may name most genes by symbols, which look like ours, and only the
    rest by ids: so 1 % of its ids is enough, unless there are ids of ours too.
    """
    some = names[:: max(1, len(names) // _SAMPLE)]
    seen = Counter(species for species in map(species_of_id, some) if species is not None)
    own = seen.pop(ours, 0)
    if not seen:
        return None
    other, count = seen.most_common(1)[0]
    return other if count >= max(3, 0.01 * len(some)) and own * 4 < count else None


def strip_genome(name: str) -> tuple[Species, str] | None:
    """The species of a genome's name in front of a gene's, and the gene's; None without one."""
    match = _GENOME_PREFIX.match(name)
    if match is None or match.end() == len(name):
        return None
    return _GENOMES[match[1].lower()], name[match.end() :]


def species_of_genomes(names: Sequence[str]) -> dict[Species, float]:
    """The species whose genomes stand in front of names, each with its share of the names."""
    some = names[:: max(1, len(names) // _SAMPLE)]
    found = (strip_genome(name.strip().strip("\"'").strip()) for name in some)
    seen = Counter(genome[0] for genome in found if genome is not None)
    return {species: count / len(some) for species, count in seen.items()}


def species_of_genome(name: str) -> Species | None:
    """The species of a genome: "GRCh38", "mm10"; None for what is not known."""
    name = name.strip().lower()
    found = (species for genome, species in _GENOMES.items() if name.startswith(genome))
    return next(found, None)


def named_species(text: str) -> list[Species] | None:
    """The species that a text names: "Homo sapiens", "mouse", "NCBITaxon:9606".

    Returns:
        One, or several ("human and mouse"); none where nothing is stated; None for a text that
        names no species that is known here.
    """
    plain = " ".join(text.replace("_", " ").split())
    lower = plain.lower()
    if lower in _NOT_STATED:
        return []
    taxon = _TAXON.match(plain)
    if taxon:
        number = int(taxon[1])
        if number in _NO_ANIMALS:
            return []
        return [_BY_TAXON.get(number) or Species(f"NCBITaxon:{number}", taxon=number)]
    words = set(re.findall(r"[a-z\-]+", lower))
    found = [
        species
        for species in SPECIES
        if species.latin.lower() in lower
        or _short(species.latin) & words
        or set(species.name.split()) <= words
    ]
    # "mouse" lies in "mouse lemur", "macaque" in both macaques.
    found = [s for s in found if not any(o is not s and s.name in o.name for o in found)]
    if not found and "macaque" in words:
        found = [_BY_TAXON[9544]]
    if not found and species_of_genome(lower):
        found = [s for s in (species_of_genome(lower),) if s]
    if not found and _BINOMIAL.match(plain):
        found = [Species(plain, plain)]
    return found or None


def _short(latin: str) -> set[str]:
    """The second word if no other species has it, and "hsapiens"."""
    genus, _, rest = latin.lower().partition(" ")
    epithet = rest.split()[-1] if rest else ""
    own = {f"{genus[:1]}{epithet}"}
    return own | ({epithet} if epithet in ("sapiens", "musculus", "norvegicus", "rerio") else set())
