/** The dialog that asks for the token. The token is handed to the caller and stored nowhere. */

import { byId, setText } from "./dom.js";

let open = null;

/** Ask for the token; returns null when the user closes the dialog. */
export function askForToken(wasWrong) {
  open ??= ask(wasWrong).finally(() => {
    open = null;
  });
  return open;
}

function ask(wasWrong) {
  const dialog = byId("token-dialog");
  const field = byId("token");
  setText(byId("token-problem"), wasWrong ? "This token is not the right one." : "");
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const given = field.value.trim();
      field.value = "";
      resolve(dialog.returnValue === "use" && given ? given : null);
    }, { once: true });
  });
}
