// The Connect page: a choice shows at once, and the address in the bar says which client is open.

const form = document.querySelector("form[data-submits]");
form.addEventListener("change", () => form.requestSubmit());
form.querySelector("button").hidden = true;

for (const client of document.querySelectorAll("details.client")) {
  client.addEventListener("toggle", () => {
    if (client.open) {
      const here = new URL(location.href);
      form.elements.client.value = client.id.replace("client-", "");
      here.searchParams.set("client", form.elements.client.value);
      history.replaceState(null, "", here);
    }
  });
}

// Whether a browser gets at the gateway's document: what stands in the way of one, in words. What Open
// WebUI's own pages may do is another matter: that goes by their address.
const TRY_MS = 10_000;
const LOOPBACK = ["localhost", "127.0.0.1", "[::1]"];

async function tried(base, path) {
  const target = new URL(path, base);
  const isMixed = location.protocol === "https:" && target.protocol === "http:";
  if (isMixed && !LOOPBACK.includes(target.hostname)) {
    return ["bad", `This page came over https, so browsers let it go to https only, and ${base} is http.`];
  }
  const asked = { credentials: "same-origin", cache: "no-store" };
  try {
    const answer = await fetch(target, {
      ...asked,
      redirect: "manual",
      headers: { "X-Session-Id": "self-test" },
      signal: AbortSignal.timeout(TRY_MS),
    });
    return await judged(answer, base);
  } catch (problem) {
    if (problem.name === "TimeoutError") {
      return ["bad", `${base} does not answer within 10 s: a firewall, or nobody has that address.`];
    }
  }
  try {
    // Without being allowed to read: whether anything is there at all.
    await fetch(target, { ...asked, mode: "no-cors", signal: AbortSignal.timeout(TRY_MS) });
  } catch {
    return [
      "bad",
      `This browser gets no answer from ${base}: nothing listens there, the name is not known here, ` +
        "the certificate is not trusted, or the browser keeps pages from private networks.",
    ];
  }
  return [
    "uneasy",
    `Something answers at ${base}, but pages of ${location.origin} may not read it (CORS). Open WebUI's ` +
      "pages may if their address is in corsOrigins.",
  ];
}

async function judged(answer, base) {
  if (answer.status === 401) {
    return ["good", `This browser reaches ${base}, and the gateway asks for a key, as it should.`];
  }
  if (answer.status === 404) {
    return ["bad", `${base} answers, but has no document of the tools: is it this gateway?`];
  }
  let told = null;
  try {
    told = await answer.json();
  } catch {
    return ["bad", `${base} answers with something that is no document of tools: is it this gateway?`];
  }
  if (answer.ok && told?.paths) {
    const count = Object.keys(told.paths).length;
    return ["good", `This browser reaches ${base} and reads ${count} ${count === 1 ? "tool" : "tools"}.`];
  }
  return ["bad", `${base} answers HTTP ${answer.status}${told?.detail ? `: ${told.detail}` : ""}`];
}

const tester = document.querySelector("[data-self-test]");
if (tester) {
  const told = document.getElementById("self-test");
  const signs = new Map();
  for (const sign of document.getElementById("signs").content.children) {
    signs.set(sign.dataset.tone, sign.firstElementChild);
  }
  tester.hidden = false;
  tester.addEventListener("click", async () => {
    tester.disabled = true;
    told.removeAttribute("data-tone");
    told.textContent = "Asking …";
    const [tone, text] = await tried(tester.dataset.selfTest, tester.dataset.document);
    const words = document.createElement("span");
    words.textContent = text;
    told.dataset.tone = tone;
    told.replaceChildren(signs.get(tone).cloneNode(true), words);
    tester.disabled = false;
  });
}
