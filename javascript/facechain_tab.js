/* FaceChain's tab in the browser: what is pressed, dropped and typed goes to the server by gradio's own components; words in the visitor's language. */

(function () {
    "use strict";

    const ROOT = "facechain-tab-root", PREFIX = "facechain-tab-";
    const STARS = "facechain-favourites";
    const TICK = 300, PATIENCE = 5000, QUIET = [1500, 6000], OURS = 2000;

    function all() {
        return typeof gradioApp === "function" ? gradioApp() : document;
    }

    function part(name) {
        return all().querySelector("#" + PREFIX + name);
    }

    /* Tell gradio that a text box was filled. */
    function fill(box, text) {
        const field = box && box.querySelector("textarea, input");
        if (!field) return;
        Object.getOwnPropertyDescriptor(Object.getPrototypeOf(field), "value").set.call(field, text);
        field.dispatchEvent(new Event("input", {bubbles: true}));
    }

    let messages = 0;

    /* A message to the server; its number makes it one even if it says the same as the last. */
    function send(channel, value) {
        messages += 1;
        fill(part("do-" + channel), `${value}\n${Date.now()}.${messages}`);
    }

    function press(name) {
        const found = typeof name === "string" ? part(name) : name;
        if (found) (found.matches("button") ? found : found.querySelector("button") || found).click();
    }

    /* ---- words ---- */

    const english = new WeakMap();
    let said = null, spoken = "";

    function dictionary(root) {
        const holder = root.querySelector("template.facechain-words");
        if (!said && holder) said = JSON.parse(holder.dataset.words);
        return said;
    }

    function language(root) {
        const hello = root.querySelector("template.facechain-hello");
        return hello ? hello.dataset.language : "";
    }

    function word(text, to) {
        const trimmed = text.trim();
        return to === "zh" && Object.hasOwn(said.zh, trimmed) ? text.replace(trimmed, said.zh[trimmed]) : text;
    }

    /* Where people's own words may stand, or what the server wrote in the visitor's language already: a person may be called Save. */
    const THEIRS = ".facechain-html:not(.facechain-built), [role=listbox], ul.options, textarea";

    /* What the page was built with is in English. */
    function translate(root, to) {
        const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
        for (let node = walker.nextNode(); node; node = walker.nextNode()) {
            const known = english.get(node);
            const original = known !== undefined && node.textContent === known.shown ? known.text : node.textContent;
            const shown = word(original, to);
            if (shown === node.textContent && !known) continue;
            if (node.parentElement.closest(THEIRS)) continue;
            if (shown !== node.textContent) node.textContent = shown;
            if (shown !== original || known) english.set(node, {text: original, shown});
        }
        for (const field of root.querySelectorAll("[placeholder]")) {
            const original = field.dataset.english || field.placeholder;
            field.dataset.english = original;
            const shown = word(original, to);
            if (field.placeholder !== shown) field.placeholder = shown;
        }
        if (root.lang !== to) root.lang = to;
    }

    function tips(root, to) {
        for (const [name, text] of Object.entries(said.tips[to])) {
            const found = part(name);
            if (found && found.title !== text) found.title = text;
        }
    }

    function speak(root) {
        const to = language(root);
        if (!to || !dictionary(root)) return;
        if (to === "zh" || spoken === "zh") translate(root, to);
        if (to !== spoken) tips(root, to);
        spoken = to;
    }

    /* ---- pages ---- */

    function pages() {
        const tabs = part("pages");
        if (!tabs) return [];
        const named = tabs.querySelectorAll(':scope > * [role="tab"], :scope > [role="tab"]');
        return [...(named.length ? named : tabs.querySelectorAll(":scope > .tab-nav > button"))];
    }

    function turn(number) {
        const button = pages()[Number(number)];
        if (button) button.click();
    }

    /* ---- asking before something is deleted ---- */

    function ask(question, then) {
        const words = said ? said.ask[spoken || "en"] : {yes: "OK", cancel: "Cancel"};
        const box = document.createElement("dialog"), text = document.createElement("p"), row = document.createElement("div");
        const before = document.activeElement;
        box.className = "facechain-ask";
        text.textContent = question;
        row.className = "facechain-actions";
        for (const [name, kind] of [["cancel", ""], ["yes", "facechain-danger"]]) {
            const button = document.createElement("button");
            button.type = "button";
            button.className = "facechain-action " + kind;
            button.textContent = words[name];
            button.addEventListener("click", () => {
                box.close();
                if (name === "yes") then();
            });
            row.append(button);
        }
        box.append(text, row);
        box.addEventListener("close", () => {
            box.remove();
            if (before && before.isConnected) before.focus();
        });
        (all().querySelector("#" + ROOT) || document.body).append(box);
        box.showModal();
    }

    /* ---- what is pressed ---- */

    function only(button) {
        const group = button.closest("[role=group]");
        if (!group || !button.hasAttribute("aria-pressed")) return;
        const on = button.getAttribute("aria-pressed") !== "true" || button.dataset.do === "result" || button.dataset.do === "entry";
        for (const one of group.querySelectorAll("[data-do][aria-pressed=true]")) one.setAttribute("aria-pressed", "false");
        button.setAttribute("aria-pressed", String(on));
    }

    function act(button) {
        const go = () => {
            if (button.dataset.page) turn(button.dataset.page);
            only(button);
            send(button.dataset.do, button.dataset.value);
            if (button.dataset.do === "again" || button.dataset.do === "vary") turn(0);
        };
        if (button.dataset.ask) ask(button.dataset.ask, go);
        else go();
    }

    function stars() {
        try {
            return JSON.parse(localStorage.getItem(STARS) || "[]");
        } catch {
            return [];
        }
    }

    function star(button) {
        const key = button.dataset.star, kept = stars().filter((one) => one !== key);
        const on = button.getAttribute("aria-pressed") !== "true";
        localStorage.setItem(STARS, JSON.stringify(on ? [...kept, key] : kept));
        button.setAttribute("aria-pressed", String(on));
        send("favourites", stars().join("\t"));
    }

    function download(address, name) {
        const link = document.createElement("a");
        link.href = address;
        link.download = name;
        link.click();
    }

    /* A file that the server hands over, once its link is there; each has a name of its own. */
    let taken = "";

    function take(root) {
        const now = root.querySelector("[data-hand]");
        if (!now || now.dataset.hand === taken) return;
        const link = [...part("handed").querySelectorAll("a[href]")].find((one) => decodeURIComponent(one.href).includes(now.dataset.hand));
        if (!link) return;
        taken = now.dataset.hand;
        download(link.href, now.dataset.name);
    }

    /* The picture that is shown is the file itself: it is saved with its info text. */
    async function save(button) {
        const image = button.closest(".facechain-selected").querySelector("img");
        const bytes = atob(image.src.split(",")[1]), content = Uint8Array.from(bytes, (letter) => letter.charCodeAt(0));
        const address = URL.createObjectURL(new Blob([content], {type: "image/png"}));
        download(address, button.dataset.save);
        setTimeout(() => URL.revokeObjectURL(address), 10000);
    }

    document.addEventListener("click", (event) => {
        const inside = event.target.closest && event.target.closest("#" + ROOT);
        const button = inside && event.target.closest("[data-do], [data-star], [data-drop], [data-save]");
        if (!button) return;
        if (button.dataset.star) star(button);
        else if (button.dataset.drop) choose(button.dataset.drop);
        else if (button.dataset.save) save(button);
        else act(button);
    });

    /* ---- files ---- */

    function field(name) {
        const holder = part(name);
        return holder && holder.querySelector("input[type=file]");
    }

    function choose(name) {
        const input = field(name), known = dictionary(all().querySelector("#" + ROOT));
        if (!input) return;
        input.accept = known && known.kinds[name] || "";
        input.click();
    }

    function give(name, files) {
        const input = field(name);
        if (!input || !files.length) return;
        const carrier = new DataTransfer();
        for (const file of input.multiple ? files : [...files].slice(0, 1)) carrier.items.add(file);
        input.files = carrier.files;
        input.dispatchEvent(new Event("change", {bubbles: true}));
    }

    /* gradio keeps what is uploaded under its name: ours are signed, by which the server knows which files it may delete. */
    const SIGNED = /^facechain-[0-9a-f]{16}-/;

    function signed(file) {
        const sign = [...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
        return new File([file], `facechain-${sign}-${file.name}`, {type: file.type, lastModified: file.lastModified});
    }

    document.addEventListener("change", (event) => {
        const input = event.target;
        if (!input.matches || !input.matches(`[id^="${PREFIX}"] input[type=file]`)) return;
        const files = [...input.files];
        if (files.every((file) => SIGNED.test(file.name))) return;
        event.stopImmediatePropagation();
        const carrier = new DataTransfer();
        for (const file of files) carrier.items.add(signed(file));
        input.files = carrier.files;
        input.dispatchEvent(new Event("change", {bubbles: true}));
    }, true);

    for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
        document.addEventListener(kind, (event) => {
            const zone = event.target.closest && event.target.closest(`#${ROOT} [data-drop]`);
            if (!zone) return;
            event.preventDefault();
            event.stopPropagation();
            zone.classList.toggle("facechain-over", kind === "dragenter" || kind === "dragover");
            if (kind === "drop") give(zone.dataset.drop, event.dataTransfer.files);
        }, true);
    }

    document.addEventListener("paste", (event) => {
        const root = all().querySelector("#" + ROOT);
        const files = event.clipboardData ? [...event.clipboardData.files] : [];
        if (!root || !root.offsetParent || !files.length || event.target.matches("input, textarea")) return;
        event.preventDefault();
        give("drop", files);
    });

    /* ---- the keyboard ---- */

    const STEPS = {ArrowRight: 1, ArrowLeft: -1, ArrowDown: 0, ArrowUp: 0};

    function walk(event) {
        const here = document.activeElement, group = here && here.closest && here.closest(`#${ROOT} [role=group]`);
        if (!group || !(event.key in STEPS) || !here.matches("[data-do]")) return;
        const cells = [...group.querySelectorAll("[data-do][aria-pressed]")], at = cells.indexOf(here);
        if (at < 0) return;
        const top = cells[0].getBoundingClientRect().top;
        const wide = cells.filter((cell) => Math.abs(cell.getBoundingClientRect().top - top) < 4).length || 1;
        const next = cells[at + (STEPS[event.key] || (event.key === "ArrowDown" ? wide : -wide))];
        if (!next) return;
        event.preventDefault();
        next.focus();
    }

    document.addEventListener("keydown", (event) => {
        const root = all().querySelector("#" + ROOT);
        if (!root || !root.offsetParent || root.querySelector("dialog[open]")) return;
        if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
            const make = part("make");
            if (make && make.offsetParent) {
                event.preventDefault();
                document.activeElement.blur();
                setTimeout(() => press(make), 50);
            }
        } else if (event.key === "Escape") {
            press(root.querySelector('[data-running] [data-do="stop"]'));
        } else if (event.key === "Delete") {
            const here = document.activeElement, channel = here && here.dataset && {result: "result", entry: "entry"}[here.dataset.do];
            if (!channel) return;
            if (here.getAttribute("aria-pressed") !== "true") here.click();
            else press(root.querySelector(`[data-do="delete-${channel}"]`));
        } else {
            walk(event);
        }
    });

    /* ---- what runs ---- */

    let asked = 0, beat = "";

    function watch(root) {
        const running = root.querySelector("[data-running]"), pulse = root.querySelector("[data-pulse]");
        const now = pulse ? pulse.dataset.pulse : "";
        if (now !== beat) {
            beat = now;
            asked = 0;
        }
        if (!running || (asked && Date.now() - asked < PATIENCE)) return;
        asked = Date.now();
        press("tick");
    }

    /* ---- answers that gradio missed ---- */

    const nudges = [];
    let last = 0, nudged = QUIET.length;

    /* Requests to gradio's queue, but for our own nudges; gradio 3, which answers each by itself, has no such address. */
    new PerformanceObserver((found) => {
        for (const one of found.getEntries()) {
            if (!/\/queue\/join(\?|$)/.test(one.name)) continue;
            const ours = nudges.findIndex((at) => one.startTime >= at && one.startTime - at < OURS);
            if (ours >= 0) {
                nudges.splice(ours, 1);
                continue;
            }
            last = Date.now();
            nudged = 0;
        }
    }).observe({type: "resource"});

    /* What is asked while gradio closes the stream of its answers is answered only after something else is asked: see Tab.nudged. */
    function nudge() {
        if (nudged === QUIET.length || Date.now() - last < QUIET[nudged]) return;
        nudged += 1;
        nudges.push(performance.now());
        if (nudges.length > QUIET.length) nudges.shift();  // one whose request never began
        press("nudge");
    }

    /* ---- the page as it comes and changes ---- */

    let focused = null, pressed = "";
    const seen = new WeakSet();
    const sight = new IntersectionObserver((found) => {
        for (const one of found) {
            if (!one.isIntersecting) continue;
            sight.unobserve(one.target);
            act(one.target);
        }
    });

    function arrive(root) {
        if (root.dataset.arrived || !root.offsetParent || !part("arrive")) return;
        root.dataset.arrived = "1";
        if (stars().length) send("favourites", stars().join("\t"));
        press("arrive");
    }

    /* An answer replaces what had the keyboard: give it to what stands there now. */
    function refocus() {
        const here = document.activeElement;
        if (here && here !== document.body) {
            focused = here.closest(`#${ROOT}`) ? here.id : null;
            return;
        }
        const again = focused && document.getElementById(focused);
        if (again) again.focus({preventScroll: true});
    }

    const told = new WeakSet();

    /* What went wrong is brought into sight once; on a phone it may be far from the button that was pressed. */
    function alarm(root) {
        for (const one of root.querySelectorAll(".facechain-trouble [role=alert]")) {
            if (told.has(one) || !one.offsetParent) continue;
            told.add(one);
            const place = one.getBoundingClientRect();
            if (place.top < 0 || place.bottom > window.innerHeight) one.scrollIntoView({block: "center"});
        }
    }

    /* Every browser has a calendar of its own; gradio's versions have different ones, or none. */
    function dates(root) {
        for (const name of ["filter-since", "filter-until"]) {
            const field = root.querySelector(`#${PREFIX}${name} input`);
            if (field && field.type !== "date") field.type = "date";
        }
    }

    /* What only the script uses is passed over by the Tab key. */
    function unreached(root) {
        for (const one of root.querySelectorAll(".facechain-hidden :is(input, textarea, button, a):not([tabindex='-1'])")) one.tabIndex = -1;
    }

    function tend() {
        const root = all().querySelector("#" + ROOT);
        if (!root) return;
        arrive(root);
        if (root.offsetParent) speak(root);
        refocus();
        alarm(root);
        unreached(root);
        dates(root);
        watch(root);
        if (root.offsetParent) nudge();
        take(root);
        const button = root.querySelector("[data-press]");
        if (button && button.dataset.once !== pressed) {
            pressed = button.dataset.once;
            setTimeout(() => press(all().querySelector("#" + button.dataset.press)), 200);
        }
        for (const more of root.querySelectorAll("[data-sight]")) {
            if (seen.has(more)) continue;
            seen.add(more);
            sight.observe(more);
        }
    }

    setInterval(tend, TICK);
})();
