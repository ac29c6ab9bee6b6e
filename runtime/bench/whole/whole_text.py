"""The document of whole descriptions as a page of text, and as a picture."""

from __future__ import annotations

from typing import Any

from c2t.runtime.bench.picture import Bar, BarGroup, bar_picture


def whole_text(document: dict[str, Any]) -> str:
    """The figures of `bench_whole`."""
    one, file, machine = document["one cell"], document["file"], document["machine"]
    lines = [
        (
            f"{document['bundle']['name']} ({document['bundle']['precision']}),"
            f" {document['engine']}, opened in {document['open_seconds']:.1f} s"
        ),
        (
            f"{machine['cpu']}, {document['threads']} threads of {machine['cores']} cores, load"
            f" {document['load_before']} before and {document['load_after']} after"
        ),
        (
            f"read bandwidth {one['read_bytes_per_second'] / 1e9:.1f} GB/s, float32 products"
            f" {one['gemm_flops_per_second'] / 1e9:.0f} GFLOP/s"
        ),
        "",
        (
            f"one description, {document['genes_per_cell']:.0f} genes; {one['cells']} cells,"
            f" {one['rounds']} rounds"
        ),
    ]
    for name, seconds in one["seconds"].items():
        faster = one["times_faster_than"].get(name, {})
        words = ", ".join(f"{ratio:.1f}x {peer}" for peer, ratio in faster.items())
        lines.append(f"  {name:34} {seconds['p50']:9.2f} s   {words}")
    for name, stages in one["stages"].items():
        whole = one["seconds"][f"c2t, accepted: {name}"]["p50"]
        lines += [
            "",
            f"stages, drafts accepted: {name}; {one['tokens_per_step'][name]:.1f} tokens a step",
            *(f"  {s:10} {t:8.3f} s  {t / whole:6.1%}" for s, t in stages.items()),
            *(f"  {share:6.0%} {what}" for what, share in one["share_of_floor"][name].items()),
        ]
    lines += [
        "",
        (
            f"a file of {file['cells']} cells, {file['batch_size']} at a time, accepted:"
            f" {file['acceptance']}; peers: batches of {file['peer_batch']}"
        ),
    ]
    for name, rate in file["cells_per_second"].items():
        ratio = file["times_faster_than"].get(name)
        lines.append(
            f"  {name:34} {rate:9.3f} cells/s" + (f"   {ratio:.1f}x" if ratio is not None else "")
        )
    return "\n".join((*lines, ""))


def whole_picture(document: dict[str, Any]) -> str:
    """The picture of `bench_whole`, as SVG."""
    one, file, machine = document["one cell"], document["file"], document["machine"]
    groups = [
        BarGroup(
            f"one description of {document['genes_per_cell']:.0f} genes: seconds, less is better",
            tuple(
                Bar(name, seconds["p50"], f"{seconds['p50']:.2f} s")
                for name, seconds in one["seconds"].items()
            ),
        ),
        *(
            BarGroup(
                f"where the time goes, drafts accepted: {name}",
                tuple(Bar(stage, seconds, f"{seconds:.3g} s") for stage, seconds in found.items()),
                all_ours=True,
            )
            for name, found in one["stages"].items()
        ),
        BarGroup(
            f"a file of {file['cells']} cells: cells a second, more is better",
            tuple(Bar(n, rate, f"{rate:.3g}") for n, rate in file["cells_per_second"].items()),
        ),
    ]
    notes = (
        f"{machine['cpu']}, {document['threads']} threads; load {document['load_before']} before,"
        f" {document['load_after']} after; {document['date']}"
    )
    title = f"{document['bundle']['name']} ({document['bundle']['precision']}): whole descriptions"
    return bar_picture(title, notes, groups)
