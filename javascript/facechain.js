/* FaceChain's panel in the browser: words in the visitor's language, tips, the mask that is painted, and photos left out. */

(function () {
    "use strict";

    const PREFIX = "facechain-";
    const PANELS = [PREFIX + "txt2img-panel", PREFIX + "img2img-panel"];
    const LONGEST_MASK = 256;

    function root() {
        return typeof gradioApp === "function" ? gradioApp() : document;
    }

    /* Tell gradio that a text box was filled. */
    function fill(box, text) {
        const field = box && box.querySelector("textarea, input");
        if (!field) return;
        const set = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(field), "value").set;
        set.call(field, text);
        field.dispatchEvent(new Event("input", {bubbles: true}));
    }

    function data(panel) {
        const holder = panel.querySelector("template.facechain-data");
        return holder ? {words: JSON.parse(holder.dataset.words), language: holder.dataset.language} : null;
    }

    function language(found) {
        return found.language || (/^zh\b/i.test(navigator.language || "") ? "zh" : "en");
    }

    /* What the server writes is in the visitor's language already, and names people: somebody may be called Save. */
    const THEIRS = "[role=listbox], ul.options, textarea, .facechain-cards figure, .facechain-closed";

    function translate(panel, words) {
        const walker = document.createTreeWalker(panel, NodeFilter.SHOW_TEXT);
        for (let node = walker.nextNode(); node; node = walker.nextNode()) {
            const text = node.textContent.trim();
            if (Object.hasOwn(words, text) && !node.parentElement.closest(THEIRS)) node.textContent = node.textContent.replace(text, words[text]);
        }
        panel.lang = "zh";
    }

    /* Point at a control and see its technical name and what it does. */
    function tip(panel, tab, tips) {
        for (const [name, text] of Object.entries(tips)) {
            const own = new RegExp(`^${PREFIX}${tab}-${name}(-\\d)?$`);
            for (const part of panel.querySelectorAll(`[id^="${PREFIX}${tab}-${name}"]`)) if (own.test(part.id)) part.title = text;
        }
    }

    /* The canvas has the picture's shape, as the host's sliders say. */
    function shape(tab) {
        const side = (name) => {
            const field = root().querySelector(`#${tab}_${name} input[type=number]`);
            return field ? Number(field.value) || 512 : 512;
        };
        const width = side("width"), height = side("height"), scale = LONGEST_MASK / Math.max(width, height);
        return [Math.max(8, Math.round(width * scale)), Math.max(8, Math.round(height * scale))];
    }

    function paintable(holder) {
        const canvas = holder.querySelector("canvas"), box = root().querySelector("#" + holder.dataset.target);
        const pen = canvas.getContext("2d"), brush = holder.querySelector("[data-tool=brush]");
        let last = null, known = "";

        function blank() {
            const [width, height] = shape(holder.dataset.tab);
            canvas.width = width;
            canvas.height = height;
            pen.fillStyle = "black";
            pen.fillRect(0, 0, width, height);
        }

        function keep() {
            known = canvas.toDataURL("image/png");
            fill(box, known);
        }

        function show(url) {
            const image = new Image();
            image.onload = () => {
                blank();
                pen.drawImage(image, 0, 0, canvas.width, canvas.height);
                keep();
            };
            image.src = url;
        }

        function at(event) {
            const place = canvas.getBoundingClientRect();
            return [(event.clientX - place.left) * canvas.width / place.width, (event.clientY - place.top) * canvas.height / place.height];
        }

        function stroke(event) {
            const [x, y] = at(event), [fromX, fromY] = last || [x, y];
            pen.strokeStyle = event.buttons === 2 || event.shiftKey ? "black" : "white";
            pen.lineWidth = Number(brush.value);
            pen.lineCap = "round";
            pen.beginPath();
            pen.moveTo(fromX, fromY);
            pen.lineTo(x, y);
            pen.stroke();
            last = [x, y];
        }

        canvas.addEventListener("pointerdown", (event) => {
            canvas.setPointerCapture(event.pointerId);
            last = null;
            stroke(event);
        });
        canvas.addEventListener("pointermove", (event) => {
            if (event.buttons) stroke(event);
        });
        canvas.addEventListener("pointerup", () => {
            last = null;
            keep();
        });
        canvas.addEventListener("contextmenu", (event) => event.preventDefault());
        holder.querySelector("[data-tool=clear]").addEventListener("click", () => {
            blank();
            known = "";
            fill(box, "");
        });
        holder.querySelector("[data-tool=upload]").addEventListener("click", () => {
            const choose = document.createElement("input");
            choose.type = "file";
            choose.accept = "image/*";
            choose.addEventListener("change", () => {
                if (choose.files[0]) show(URL.createObjectURL(choose.files[0]));
            });
            choose.click();
        });

        blank();
        return () => {
            const field = box && box.querySelector("textarea, input");
            if (field && field.value !== known) {
                known = field.value;
                if (known.startsWith("data:")) show(known);
                else if (!known) blank();
            }
        };
    }

    const painted = new Map();
    const watched = new WeakSet();
    let checkpoint = null;

    /* What may have changed since the server built the page: checkpoint, files, saved persons, the words' language. */
    function refresh(panel, what = "refresh") {
        const button = panel.querySelector(`[id$="-${what}"]`);
        if (button) (button.matches("button") ? button : button.querySelector("button")).click();
    }

    /* A generation has ended when the host hides its Skip button again; then ours may have something to say. */
    function watchEnd(panel, tab) {
        const button = root().querySelector(`#${tab}_skip`);
        if (!button || watched.has(button)) return;
        watched.add(button);
        let running = false;
        new MutationObserver(() => {
            const before = running;
            running = button.style.display === "block";
            if (before && !running) refresh(panel, "ended");
        }).observe(button, {attributes: true, attributeFilter: ["style"]});
    }

    function watchCheckpoint(panels) {
        const field = root().querySelector("#setting_sd_model_checkpoint input");
        if (!field || field.value === checkpoint) return;
        const first = checkpoint === null;
        checkpoint = field.value;
        // The host loads the checkpoint meanwhile, and does not say when it has.
        for (const wait of first ? [0] : [1500, 6000, 15000]) setTimeout(() => panels.forEach((panel) => refresh(panel)), wait);
    }

    function tend() {
        for (const id of PANELS) {
            const panel = root().querySelector("#" + id);
            if (!panel) continue;
            const found = data(panel);
            if (!found) continue;
            const tab = id.slice(PREFIX.length, -"-panel".length), chinese = language(found) === "zh";
            if (chinese) translate(panel, found.words.zh);
            if (!panel.dataset.tips) {
                panel.dataset.tips = "1";
                tip(panel, tab, found.words.tips[chinese ? "zh" : "en"]);
            }
            if (!panel.dataset.seen) {
                panel.dataset.seen = "1";
                const head = panel.querySelector(".label-wrap");
                if (head) head.addEventListener("click", () => refresh(panel));
            }
            watchEnd(panel, tab);
            for (const holder of panel.querySelectorAll(".facechain-canvas")) {
                if (!painted.has(holder)) painted.set(holder, paintable(holder));
                painted.get(holder)();
            }
        }
        watchCheckpoint(PANELS.map((id) => root().querySelector("#" + id)).filter(Boolean));
    }

    document.addEventListener("click", (event) => {
        const button = event.target.closest && event.target.closest(".facechain-leave");
        if (!button) return;
        const cards = button.closest('[id*="-cards-"]');
        fill(root().querySelector("#" + cards.id.replace("-cards-", "-drop-")), button.dataset.photo);
    });

    /* Deleting a person asks first; it is before gradio hears of the click. */
    document.addEventListener("click", (event) => {
        const button = event.target.closest && event.target.closest(`[id^="${PREFIX}"][id*="-delete-"]`);
        const panel = button && button.closest(`[id$="-panel"]`), found = panel && data(panel);
        if (found && !window.confirm(found.words.sure[language(found)])) {
            event.stopPropagation();
            event.preventDefault();
        }
    }, true);

    onUiLoaded(tend);
    onAfterUiUpdate(tend);
})();
