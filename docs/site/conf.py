"""Sphinx's settings for the site; `build.py` says how it is built."""

import c2t

project = "c2t"
author = "The c2t authors"
copyright = "the c2t authors, Apache License 2.0"
version = release = c2t.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 4
exclude_patterns = ["README.md"]
# Pages of a subject that a release may lack.
suppress_warnings = ["toc.empty_glob", "autosectionlabel.*"]
default_role = "code"
smartquotes = False

napoleon_google_docstring = True
napoleon_numpy_docstring = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80

html_theme = "furo"
html_title = f"c2t {version}"
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
html_use_index = False
html_domain_indices = False
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True
