"""The document of a bundle's benchmark as a page of text for people."""

from __future__ import annotations

from typing import Any

MB = 1e6


def bench_text(document: dict[str, Any]) -> str:
    """The figures of `bench_bundle`, one section after another."""
    machine, speed = document["machine"], document["speed"]
    return "\n".join(
        [
            (
                f"{document['bundle']['name']} ({document['bundle']['precision']},"
                f" {document['bundle']['bytes'] / MB:,.0f} MB)"
            ),
            (
                f"{machine['cpu']}, {document['threads']} threads of {machine['cores']} cores,"
                f" load {document['load_before']} before and {document['load_after']} after"
            ),
            (
                f"read bandwidth {speed['read_bytes_per_second'] / 1e9:.1f} GB/s,"
                f" float32 products {speed['gemm_flops_per_second'] / 1e9:.0f} GFLOP/s"
            ),
            "",
            *_start(document["start"]),
            "",
            *_stages(document["stages"], document["genes_per_cell"]),
            "",
            *_latency(document["latency"]),
            "",
            *_throughput(document["throughput"]),
            "",
            *_decoder(document["decoder"]),
            "",
        ]
    )


def _start(start: dict[str, float]) -> list[str]:
    return [
        (
            f"start: first token {start['first_token_seconds']:.2f} s after the process begins"
            f" (imports {start['import_seconds']:.2f}, opening {start['open_seconds']:.2f});"
            f" the whole text after {start['text_seconds']:.2f} s"
        ),
        (
            f"memory: at most {start['peak_resident_bytes'] / MB:,.0f} MB resident,"
            f" {start['peak_of_bundle']:.2f} times the bundle;"
            f" {start['private_bytes'] / MB:,.0f} MB of it not mapped files"
        ),
    ]


def _stages(stages: dict[str, Any], genes: float) -> list[str]:
    lines = [
        f"one cell ({genes:.0f} gene tokens)     p50       p90   share",
        *(
            f"  {name:12} {_ms(seconds['p50'])} {_ms(seconds['p90'])}"
            + (f"  {stages['share'][name]:6.1%}" if name in stages["share"] else "")
            for name, seconds in stages["seconds"].items()
        ),
        f"  {'whole':12} {_ms(stages['whole']['p50'])} {_ms(stages['whole']['p90'])}",
        (
            f"  {stages['tokens_per_second']:,.0f} tokens/s,"
            f" {stages['tokens_per_step']:.2f} tokens per step"
        ),
    ]
    return lines


def _latency(latency: dict[str, Any]) -> list[str]:
    beams = f", {latency['beams']} beams" if latency["beams"] > 1 else ""
    lines = [f"one cell at a time, {latency['cells']} cells in turns{beams}"]
    for name, seconds in latency["seconds"].items():
        lines.append(f"  {name:24} {_ms(seconds['p50'])} {_ms(seconds['p90'])}")
        if name in latency["times_faster_than"]:
            equal, cells = latency["same_texts"][name]
            lines[-1] += (
                f"   c2t is {latency['times_faster_than'][name]:.1f}x as fast,"
                f" {equal} of {cells} texts equal"
            )
    return lines


def _throughput(throughput: dict[str, Any]) -> list[str]:
    lines = [f"{throughput['cells']} cells in batches"]
    for name, rate in throughput["cells_per_second"].items():
        tokens = throughput["tokens_per_second"][name]
        lines.append(f"  {name:24} {rate:9.2f} cells/s {tokens:9.0f} tokens/s")
        if name in throughput["times_faster_than"]:
            lines[-1] += f"   c2t is {throughput['times_faster_than'][name]:.1f}x as fast"
    return lines


def _decoder(decoder: dict[str, Any]) -> list[str]:
    lines = [
        (
            f"decoder alone: prompt of {decoder['prompt_tokens']} tokens"
            f" ({decoder['prefix_tokens']} of them cached),"
            f" weights {decoder['weight_bytes'] / MB:,.0f} MB,"
            f" read at {decoder['read_bytes_per_second'] / 1e9:.1f} GB/s"
        )
    ]
    parts = {"prefill": decoder["prefill"], "one token": decoder["step"]}
    parts |= {f"{count} tokens": part for count, part in decoder["drafts"].items()}
    for what, part in parts.items():
        for name, seconds in part["seconds"].items():
            lines.append(f"  {what:10} {name:13} {_ms(seconds['p50'])} {_ms(seconds['p90'])}")
            if name in part["times_faster_than"]:
                lines[-1] += f"   c2t is {part['times_faster_than'][name]:.2f}x as fast"
            elif what == "one token":
                lines[-1] += f"   {decoder['step_share_of_floor'][name]:.0%} of what reading allows"
            elif what == "prefill" and decoder["prefill_share_of_gemm"] is not None:
                lines[-1] += f"   {decoder['prefill_share_of_gemm']:.0%} of the product rate"
    return lines


def _ms(seconds: float) -> str:
    """Seconds in a unit that suits them, 10 characters wide."""
    if seconds >= 10:
        return f"{seconds:7.1f} s "
    return f"{seconds * 1e3:7.1f} ms" if seconds >= 1e-4 else f"{seconds * 1e6:7.1f} µs"
