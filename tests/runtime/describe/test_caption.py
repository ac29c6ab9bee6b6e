from c2t.runtime.describe.caption import PAPER, caption_fields

NORMAL = (
    "This sample consists of a natural killer cell, a lymphocyte that kills. It originates from "
    "the blood of a normal male during adulthood. This cell is associated with growth."
)
ILL = (
    "This sample consists of an astrocyte, a star-shaped cell. It originates from the cortex of "
    "left lobe of a female with systemic lupus erythematosus during the sixth decade. More."
)


def test_fields_of_a_normal_donor():
    fields = caption_fields(NORMAL)
    assert fields.cell_type == "natural killer cell"
    assert fields.tissue == "blood"
    assert (fields.disease, fields.sex, fields.age) == ("normal", "male", "adulthood")


def test_fields_of_an_ill_donor_and_a_tissue_with_of():
    fields = caption_fields(ILL)
    assert fields.cell_type == "astrocyte"
    assert fields.tissue == "cortex of left lobe"
    assert fields.disease == "systemic lupus erythematosus"
    assert (fields.sex, fields.age) == ("female", "the sixth decade")


def test_span_covers_the_cell_type_alone():
    ((start, end),) = PAPER.read(ILL)["cell_type"].spans
    assert ILL[start:end] == "astrocyte"


def test_a_text_without_the_template_has_no_fields():
    fields = caption_fields("Cell sentence: MALAT1 B2M TMSB4X")
    assert set(vars(fields).values()) == {None}
    assert PAPER.read("")["cell_type"] is None
