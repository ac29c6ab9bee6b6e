"""Labels that charts must show whole, and where a browser draws the texts of a page."""

from __future__ import annotations

from pathlib import Path

LABELS = (
    "B",
    "CD8-positive, alpha-beta cytokine secreting effector T cell of the small intestine",
    "CD14-low, CD16-positive monocyte",
    "W" * 60,
    "iiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiii",
    "HETEROGENEOUS @@@ MMMM %%% WWW &&& ### +++ === <<< >>> @@@",
    "自然杀伤细胞与树突状细胞之间的一个非常长的名称以及更多的文字",
    "зрелый нейтрофильный гранулоцит периферической крови",
    "a_label_with_underscores/and/slashes/and_no_blank_at_all_in_it",
    '<script>alert("x")</script> & "quotes"',
    "word " * 60,
    "",
)
# Texts of each picture whose box is not inside of the picture's.
OUTSIDE = """
[...document.querySelectorAll('svg')].flatMap(svg => {
  const all = svg.getBoundingClientRect();
  return [...svg.querySelectorAll('text')].filter(text => {
    const box = text.getBoundingClientRect();
    return box.left < all.left - 0.5 || box.right > all.right + 0.5
      || box.top < all.top - 0.5 || box.bottom > all.bottom + 0.5;
  }).map(text => text.textContent);
})
"""


def texts_outside(page: str, folder: Path) -> list[str]:
    """Texts that headless Chromium draws outside of their picture."""
    from page_browser import CHROMIUM, FLAGS
    from playwright.sync_api import sync_playwright

    path = folder / "page.html"
    path.write_text(page, encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            opened = browser.new_page(viewport={"width": 1200, "height": 900})
            opened.goto(path.as_uri())
            assert opened.evaluate("document.querySelectorAll('svg text').length") > 0
            return opened.evaluate(OUTSIDE)
        finally:
            browser.close()
