"""What may be in the document of any page: what templates and scripts of ours write there, and nothing else.

`Inspector` reads the attributes of htmx off the templates, so a new one needs no word here; an element or an
attribute that could load, send, frame or act is wrong wherever it is not known.
"""

import re
from pathlib import Path
from typing import Final

from playwright.async_api import Page

from mcp_gateway.faces.ui import render

TEMPLATES: Final = Path(render.__file__).parent / "templates"
# What a value of ours may be made of where a template puts one into an attribute of htmx.
FILLED: Final = r"[\w./?=&%#~:+-]*"
INSPECT: Final = r"""
(known) => {
  const wrong = [];
  const ours = known.map((one) => new RegExp(`^(?:${one})$`));
  const told = (element, why) => wrong.push(`${why}: ${element.outerHTML.slice(0, 200)}`);
  const unseen = /[^\P{C}\n\t]|[\u2028\u2029]/u;
  const never = "iframe,frame,frameset,object,embed,base,applet,style,math,foreignObject,animate,set,"
    + "template:not(#signs),portal,marquee,video,source,track,hx-partial,meta[http-equiv],"
    + "input[type=image],map,xss,body body";
  for (const element of document.querySelectorAll(never)) {
    told(element, "an element of somebody else");
  }
  const loads = new Set(["src", "href", "xlink:href", "action", "formaction", "data", "poster", "srcset",
    "ping", "background", "manifest", "cite", "longdesc", "codebase", "classid", "profile", "imagesrcset",
    "srcdoc"]);
  for (const element of document.querySelectorAll("*")) {
    const tag = element.localName;
    for (const { name, value } of element.attributes) {
      if (/^on/i.test(name)) {
        told(element, `a handler ${name}`);
      }
      if (/^(data-)?(hx|sse|ws)-/.test(name) && !ours.some((one) => one.test(`${name}=${value}`))) {
        told(element, `an attribute of htmx ${name}`);
      }
      if (/^[^a-z]|[^\w:.@-]/.test(name)) {
        told(element, `an attribute that nobody writes ${name}`);
      }
      if (unseen.test(value) && name !== "value" && name !== "data-value") {
        told(element, `something that hides in ${name}`);
      }
      if (loads.has(name) && !(tag === "img" || tag === "audio") && !(name === "data" && tag !== "object")) {
        const url = URL.parse(value, location.href);
        const isOurs = url?.origin === location.origin
          && (["/", "/docs"].includes(url.pathname)
            || /^\/(ui|api|manifest\.webmanifest)(\/|$)/.test(url.pathname))
          && !url.pathname.startsWith("/ui/canary");
        const isAway = tag === "a" && url?.protocol === "https:" && element.target === "_blank"
          && element.relList.contains("noopener") && element.relList.contains("noreferrer");
        const isProgram = tag === "a" && location.pathname === "/ui/connect"
          && /^(cursor|vscode|vscode-insiders|lmstudio|goose):$/.test(url?.protocol);
        if (!isOurs && !isAway && !isProgram) {
          told(element, `leads to ${value.slice(0, 80)}`);
        }
      }
    }
    if (tag === "script") {
      const isData = element.type === "application/json" && element.id === "facts";
      if (!isData && !(element.getAttribute("src") ?? "").startsWith("/ui/static/")) {
        told(element, "a script");
      }
    }
    const source = element.getAttribute("src") ?? "";
    if (tag === "img" && !/^(\/ui\/icons\/|data:image\/(png|jpeg|webp|gif);base64,[\w+/=]*$)/.test(source)) {
      told(element, "a picture");
    }
    if (tag === "audio" && !/^data:audio\/[a-z0-9.+-]+;base64,[\w+/=]*$/.test(source)) {
      told(element, "a sound");
    }
    if (tag === "svg" && !/\b(icon|spark)\b/.test(element.getAttribute("class") ?? "")) {
      told(element, "a drawing");
    }
  }
  const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
  for (const id of new Set(ids.filter((one, at) => ids.indexOf(one) !== at))) {
    wrong.push(`an id that is there twice: ${id}`);
  }
  const walker = document.createTreeWalker(document, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode;
    if (unseen.test(text.data) && !["SCRIPT", "TEXTAREA"].includes(text.parentElement?.tagName)) {
      told(text.parentElement, "something that hides in the text");
    }
  }
  if ("pwned" in globalThis || "pwned" in Object.prototype || ({}).polluted) {
    wrong.push("a script of somebody else has run");
  }
  if (!document.title.endsWith(" · MCP Gateway")) {
    wrong.push(`the title ${document.title}`);
  }
  return wrong;
}
"""


def known_attributes() -> list[str]:
    """Each attribute of htmx that a template writes, as a regular expression of `name=value`."""
    found = set()
    for path in TEMPLATES.rglob("*.html"):
        text = re.sub(r"\{#.*?#\}", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        found |= {f"{name}=" for name in re.findall(r"\s(hx-ignore)(?=[\s>{])", text)}
        for name, value in re.findall(r"\s(hx-[\w:-]+)=\"([^\"]*)\"", text):
            pieces = re.split(r"\{\{.*?\}\}", value.replace("&amp;", "&"))
            found.add(re.escape(name) + "=" + FILLED.join(map(re.escape, pieces)))
    return sorted(found)


class Inspector:
    def __init__(self) -> None:
        self._known = known_attributes()

    async def check(self, page: Page) -> None:
        """Nothing is in the document that we did not write there.

        Raises: AssertionError, with all that is.
        """
        wrong: list[str] = await page.evaluate(INSPECT, self._known)
        assert not wrong, f"{page.url}:\n" + "\n".join(wrong[:20])
