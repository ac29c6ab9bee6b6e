"""Genes that nearly every human cell expresses, whatever its type.

A whole transcriptome has a column for each. A choice of highly variable genes leaves most of them
out, since they vary little: of 122, the real files at hand have all 122; cut to the 2,000 most
variable genes, 1; a targeted panel of 765 genes, 20.
"""

from __future__ import annotations

_SYMBOLS = (
    # proteins of the large ribosome
    "RPL3 RPL4 RPL5 RPL6 RPL7 RPL7A RPL8 RPL9 RPL10 RPL10A RPL11 RPL12 RPL13 RPL13A RPL14 RPL15 "
    "RPL18 RPL18A RPL19 RPL21 RPL22 RPL23 RPL23A RPL24 RPL26 RPL27 RPL27A RPL28 RPL29 RPL30 RPL31 "
    "RPL32 RPL34 RPL35 RPL35A RPL36 RPL37 RPL37A RPL38 RPL39 RPLP0 RPLP1 RPLP2 "
    # mitochondria
    "MT-CO1 MT-CO2 MT-CO3 MT-ND1 MT-ND2 MT-ND4 MT-CYB MT-ATP6 COX4I1 COX7C COX6C ATP5F1B ATP5MC2 "
    "NDUFA4 UQCRB TOMM7 VDAC1 SLC25A5 SLC25A6 CHCHD2 "
    # the cell's skeleton, metabolism, translation, and the rest of its household
    "ACTB ACTG1 B2M GAPDH EEF1A1 EEF1B2 EEF2 TPT1 FTL FTH1 TMSB4X TMSB10 FAU UBA52 NACA PPIA "
    "HSP90AB1 HSPA8 YWHAZ YWHAB CFL1 PFN1 ENO1 LDHB PTMA SERF2 UBC UBB CALM1 CALM2 SRP14 EIF1 "
    "EIF4A1 HNRNPA1 HNRNPA2B1 HNRNPK SRSF3 SRSF5 DDX5 ARPC2 ARPC3 MYL6 CD63 OAZ1 PSMA7 SUMO2 RACK1 "
    "BTF3 NPM1 PABPC1 TUBA1B GNAS MYL12B RHOA CDC42 ARF1 SET RAN HINT1"
)
USUAL_GENES = tuple(_SYMBOLS.split())
