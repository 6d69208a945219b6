// SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
// SPDX-License-Identifier: GPL-3.0-or-later
import RFB from "/novnc/core/rfb.js";
const screen = document.getElementById("screen"), state = document.getElementById("state");
const form = document.getElementById("key"), take = document.getElementById("take");
const url = new URL(`${location.pathname}/socket`, location.href);
url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
const rfb = new RFB(screen, url.href, { wsProtocols: ["binary"] });
rfb.viewOnly = true;
rfb.scaleViewport = true;
let refused = false;
const say = (text) => { state.textContent = text; };
rfb.addEventListener("connect", () => { form.hidden = true; take.disabled = false; say("connected, looking only"); });
rfb.addEventListener("disconnect", (event) => {
  take.disabled = true;
  form.hidden = true;
  if (!refused) say(event.detail.clean ? "disconnected" : "the connection broke: reload the page to try again");
});
rfb.addEventListener("credentialsrequired", () => {
  form.hidden = false;
  document.getElementById("password").focus();
  say("the guest's VNC password is needed");
});
rfb.addEventListener("securityfailure", () => {
  refused = true;
  say("the password is wrong: reload the page to try again");
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  rfb.sendCredentials({ password: document.getElementById("password").value });
});
take.addEventListener("change", () => {
  rfb.viewOnly = !take.checked;
  say(take.checked ? "connected, your keyboard and mouse go to the guest" : "connected, looking only");
  if (take.checked) rfb.focus();
});
