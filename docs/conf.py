# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The site of guides and plugin pages: `make docs` puts both into .cache/docs/rst and builds them there.

Sphinx and its theme alabaster come with antsibull-docs, so the site needs no package of its own.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes

project = "opennebula.elastichosts"
author = "The opennebula.elastichosts authors"
copyright = f"2026, {author}"  # noqa: A001
extensions = ["sphinx_antsibull_ext"]
html_theme = "alabaster"
html_theme_options = {"description": "Burst an OpenNebula cloud to ElasticHosts", "page_width": "1100px"}
html_sidebars = {"**": ["about.html", "navigation.html", "searchfield.html"]}
html_show_sphinx = False
nitpicky = True  # whatever a page refers to has to be there
nitpick_ignore_regex = [("envvar", "ANSIBLE_.*")]  # Ansible's own settings, which only its own site describes

ANSIBLE = "https://docs.ansible.com/projects/ansible/latest/"
ELSEWHERE = {
    "action_plugins": "plugins/action.html",
    "ansible_configuration_settings": "reference_appendices/config.html",
    "common_return_values": "reference_appendices/common_return_values.html",
}
"""what pages of plugins refer to in Ansible's own site; said here, so that the build needs no network"""


def link_elsewhere(app: Any, env: Any, node: Any, content: Any) -> nodes.reference | None:
    page = ELSEWHERE.get(node["reftarget"])
    return None if page is None else nodes.reference("", content.astext(), refuri=f"{ANSIBLE}{page}")


def setup(app: Any) -> None:
    app.connect("missing-reference", link_elsewhere)
