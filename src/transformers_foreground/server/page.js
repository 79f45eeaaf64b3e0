// What Gradio's page lacks: pasting and dropping images anywhere, use by keyboard, names for screen readers.
(() => {
  const listOf = (files) => {
    const carrier = new DataTransfer();
    for (const file of files) carrier.items.add(file);
    return carrier.files;
  };
  const give = (files, area = "#images") => {
    const input = document.querySelector(`${area} input[type=file]`);
    if (!input || !files.length) return false;
    input.files = listOf(files);
    input.dispatchEvent(new Event("change", { bubbles: true }));
    return true;
  };

  // When one of several files is too large, Gradio takes none of them, and shows its name as HTML: so leave it out here.
  const tooLarge = (file) => file.size > Number(document.querySelector("#refused").dataset.maxBytes);
  document.addEventListener(
    "change",
    (event) => {
      const input = event.target;
      if (!input.matches(":is(#images, #behind) input[type=file]")) return;
      const [files, refused] = [[...input.files], document.querySelector("#refused")];
      const large = files.filter(tooLarge);
      const names = large.map((file) => file.name).join(", ");
      refused.textContent = large.length ? `Left out, since larger than ${refused.dataset.maxBytes / 1e6} MB: ${names}` : "";
      if (!large.length) return;
      input.files = listOf(files.filter((file) => !tooLarge(file)));
      if (!input.files.length) event.stopImmediatePropagation();
    },
    true,
  );
  document.addEventListener(
    "drop",
    (event) => {
      const files = [...(event.dataTransfer?.files ?? [])];
      const area = event.target.closest("#images, #behind");
      if (!area || !files.some(tooLarge)) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      event.target.dispatchEvent(new DragEvent("dragleave", { bubbles: true }));
      give(files, `#${area.id}`);
    },
    true,
  );

  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])].filter((file) => file.type.startsWith("image/"));
    if (give(files)) event.preventDefault();
  });
  // Without this, the browser would open an image that misses the drop zone, in place of the page.
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    give([...(event.dataTransfer?.files ?? [])]);
  });

  const share = (handle, wrap) => {
    const [line, box] = [handle.querySelector(".inner").getBoundingClientRect(), wrap.getBoundingClientRect()];
    return Math.min(1, Math.max(0, (line.left + line.width / 2 - box.left) / box.width));
  };
  const tell = (handle, wrap) => {
    const percent = Math.round(100 * share(handle, wrap));
    handle.setAttribute("aria-valuenow", percent);
    handle.setAttribute("aria-valuetext", `${percent} % before, ${100 - percent} % after`);
  };
  // Gradio's slider listens only to the mouse, so keys drag it with a mouse that is not there.
  const drag = (handle, wrap, to) => {
    const grip = handle.querySelector(".inner").getBoundingClientRect();
    const box = wrap.getBoundingClientRect();
    const at = (type, x, target) =>
      target.dispatchEvent(
        new MouseEvent(type, { bubbles: true, cancelable: true, view: window, button: 0, clientX: x, clientY: grip.top }),
      );
    at("mousedown", grip.left + grip.width / 2, handle.querySelector(".inner"));
    at("mousemove", box.left + to * box.width, window);
    at("mouseup", box.left + to * box.width, window);
  };
  // While an image loads, Gradio's slider divides by its width, which is 0, and has no position.
  const loaded = (wrap, then) => {
    const wide = [...wrap.querySelectorAll("img")].every((image) => image.naturalWidth);
    if (wide) requestAnimationFrame(then);
    else wrap.addEventListener("load", () => requestAnimationFrame(then), { capture: true, once: true });
  };
  const prepare = (handle) => {
    const wrap = handle.parentElement;
    const attributes = { role: "slider", tabindex: 0, "aria-label": "Before and after", "aria-valuemin": 0 };
    for (const [name, value] of Object.entries({ ...attributes, "aria-valuemax": 100 })) handle.setAttribute(name, value);
    tell(handle, wrap);
    new ResizeObserver(() => tell(handle, wrap)).observe(wrap);
    let wanted = null; // where keys have sent it: the next key may come before the page shows it
    handle.addEventListener("keydown", (event) => {
      const now = wanted ?? share(handle, wrap);
      const step = event.shiftKey ? 0.2 : 0.05;
      const moves = { ArrowLeft: now - step, ArrowRight: now + step, Home: 0, End: 1 };
      if (!(event.key in moves)) return;
      event.preventDefault();
      const to = (wanted = Math.min(1, Math.max(0, moves[event.key])));
      const move = () => {
        drag(handle, wrap, to);
        requestAnimationFrame(() => {
          if (wanted !== to || !handle.isConnected) return; // another key came, or another slider
          if (!handle.style.transform) return loaded(wrap, move);
          tell(handle, wrap);
          wanted = null;
        });
      };
      move();
    });
    handle.addEventListener("pointerup", () => requestAnimationFrame(() => tell(handle, wrap)));
  };

  // The checkerboard is below the cut-out only, and not below the empty space beside it.
  const fit = (image) => {
    const ratio = image.naturalWidth / image.naturalHeight;
    const [width, height] = [image.offsetWidth, image.offsetHeight];
    if (!ratio || !width || !height) return;
    const beside = Math.max(0, (width - height * ratio) / 2);
    const above = Math.max(0, (height - width / ratio) / 2);
    image.style.padding = `${above}px ${beside}px`;
  };
  const sizes = new ResizeObserver((entries) => entries.forEach((entry) => fit(entry.target)));
  const seen = new WeakSet();

  // In Gradio each radio button is a group of its own, so the browser's arrow keys do not reach the next one.
  document.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const group = step && event.target.matches("#kind input, #filetype input") && event.target.closest("[id]");
    if (!group) return;
    event.preventDefault();
    const radios = [...group.querySelectorAll("input")];
    const next = radios[(radios.indexOf(event.target) + step + radios.length) % radios.length];
    next.focus();
    next.click();
  });

  // Names for controls that Gradio leaves without one.
  const names = {
    "[aria-label='Empty value']": "No image yet",
    "#colour .swatch": "The colour now",
    "#colour .eyedropper": "Take a colour from the screen",
    "#colour input[type=text]": "Colour, as #rrggbb",
  };

  // On a phone the results are below the fold: scroll to the status first, then to the result.
  let awaited = false;
  document.addEventListener("click", (event) => {
    if (event.target.closest("#stop")) document.querySelector("#go").focus(); // the button is about to disappear
    if (!event.target.closest("#go")) return;
    awaited = true;
    reveal("#status");
  });
  const reveal = (selector) => {
    if (!matchMedia("(max-width: 860px)").matches) return;
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    document.querySelector(selector)?.scrollIntoView({ behavior: still ? "auto" : "smooth", block: "start" });
  };
  const revealResult = () => {
    if (!awaited || !document.querySelector("#status .done") || !document.querySelector("#slider img")) return;
    awaited = false;
    reveal("#slider");
  };

  const look = () => {
    revealResult();
    for (const handle of document.querySelectorAll("#slider [data-testid=slider]:not([role=slider])")) prepare(handle);
    for (const input of document.querySelectorAll("input[type=file]:not([accept])")) {
      input.accept = "image/*,.heic,.heif,.avif"; // dropped files may be anything: the server names those that it cannot read
    }
    for (const button of document.querySelectorAll("button[aria-dropeffect][aria-label]")) {
      if (button.innerText.trim()) button.removeAttribute("aria-label"); // its text is its name
    }
    // Let the caption be a thumbnail's name, in place of its number.
    for (const button of document.querySelectorAll("#several .thumbnail-item[aria-label]")) button.removeAttribute("aria-label");
    for (const [selector, name] of Object.entries(names)) {
      for (const element of document.querySelectorAll(selector)) {
        element.setAttribute("aria-label", name);
        if (element.tagName === "DIV") element.setAttribute("role", "img");
      }
    }
    // Screen readers announce how a request ended, but not every step on the way.
    const status = document.querySelector("#status");
    status?.setAttribute("aria-live", "polite");
    status?.setAttribute("aria-busy", Boolean(status.querySelector(".busy")));
    document.querySelectorAll("#slider img").forEach((image, index) => {
      image.alt = index ? "After: the cut-out" : "Before: the image";
      if (!image.classList.contains("fixed") || seen.has(image)) return;
      seen.add(image);
      sizes.observe(image);
      image.addEventListener("load", () => fit(image));
    });
  };
  new MutationObserver(look).observe(document.documentElement, { childList: true, subtree: true });
})();
