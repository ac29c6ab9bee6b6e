"""The style sheet of report pages."""

STYLE = """
:root { color-scheme: light; }
body { margin: 0; background: #f3f4f6; color: #1f2937;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 28px; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 19px; margin: 0 0 14px; }
h3 { font-size: 14px; font-weight: 600; color: #4b5563; margin: 20px 0 8px; }
.sub, .remark { color: #6b7280; font-size: 13px; }
.sub, .key { margin: 0 0 6px; }
.swatch { display: inline-block; width: 12px; height: 12px; border-radius: 3px;
  margin: 0 6px 0 0; }
.key .swatch + .swatch, .key .swatch:not(:first-child) { margin-left: 18px; }
section { background: #fff; border-radius: 10px; padding: 22px 24px; margin-top: 18px;
  box-shadow: 0 1px 3px rgba(0, 0, 0, 0.08); }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(215px, 1fr)); gap: 14px;
  margin-top: 22px; }
.card { background: #fff; border-radius: 10px; padding: 16px 18px;
  box-shadow: 0 1px 3px rgba(0, 0, 0, 0.08); }
.card .name { font-size: 13px; color: #4b5563; }
.card .value { font-size: 27px; font-weight: 650; margin: 2px 0; }
.warnings { background: #fffbeb; border-left: 4px solid #d97706; }
.warnings ul { margin: 0; padding-left: 18px; }
.scroll { overflow-x: auto; }
svg { display: block; font-family: inherit; }
table { border-collapse: collapse; font-size: 13.5px; }
th, td { text-align: left; vertical-align: top; padding: 4px 18px 4px 0; font-weight: 400;
  border-bottom: 1px solid #f3f4f6; overflow-wrap: anywhere; }
th { color: #6b7280; white-space: nowrap; }
.example { border-top: 1px solid #e5e7eb; padding: 14px 0 4px; }
.example:first-of-type { border-top: none; }
.cell { font-weight: 600; overflow-wrap: anywhere; }
.tag { display: inline-block; border-radius: 99px; padding: 1px 9px; margin-left: 8px;
  font-size: 12px; font-weight: 500; }
.right { background: #dcfce7; color: #166534; }
.wrong { background: #fee2e2; color: #991b1b; }
.texts { display: grid; grid-template-columns: repeat(auto-fit, minmax(290px, 1fr)); gap: 18px;
  margin-top: 8px; }
.text .who { font-size: 12px; color: #6b7280; text-transform: uppercase; letter-spacing: 0.04em; }
.text p { margin: 2px 0 10px; overflow-wrap: anywhere; }
mark { background: #fde68a; border-radius: 3px; padding: 0 1px; }
@media print { body { background: #fff; } section, .card { box-shadow: none; } }
"""
