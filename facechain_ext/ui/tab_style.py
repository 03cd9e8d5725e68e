"""Style: a gallery of the presets and of one's own, the chosen one with its weight and words, further LoRAs, and a style of one's own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from facechain_ext.errors import BadInput
from facechain_ext.store.records import Wanted
from facechain_ext.ui import tab_html as html
from facechain_ext.ui.gradio_versions import in_turn
from facechain_ext.ui.ids import element
from facechain_ext.ui.tab_wires import TAB, Visitor, Wires, bad, first_line, fixed, good, title
from facechain_ext.ui.traces import received
from facechain_ext.ui.words import meant, say
from facechain_ext.workflows.own_styles import own_style
from facechain_ext.workflows.styles import Bound
from facechain_ext.workflows.wording import NEGATIVE

PAGE = 24
MOST_LORAS = 4
NONE = "—"
"""No LoRA: gradio 3.41 cannot show an empty choice."""
CHIPS = ("all", "installed", "mine", "favourites")
HEAVIEST = 2.0
CHANNELS = ("style", "favourites", "more-styles", "delete-style", "export-styles")
DROPS = {"lora-drop": [".safetensors"], "styles-drop": [".json"]}


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What the gallery shows: text that is searched for, chip, favourites by key, chosen key, and how many cards."""

    text: str = ""
    chip: str = "all"
    favourites: tuple[str, ...] = ()
    chosen: str = ""
    amount: int = PAGE


class Styles:
    """The column of that name. Its values: `style` (a key, or empty), `style-weight`, `prompt`, `negative`, and rows of LoRAs."""

    def __init__(self, wires: Wires) -> None:
        self.wires = wires
        begin = wires.studio.defaults()
        self.template = begin.template
        self.start = (begin.prompt, NEGATIVE if begin.negative is None else begin.negative)  # words until a style brings its own
        with gr.Column(elem_classes=["facechain-style", "facechain-column"], min_width=0):
            title("tab.style")
            for name, value in (("style", ""), ("filled", self.start), ("choice", Choice())):
                wires.state(name, value)
            self._gallery()
            wires.html("chosen")
            wires.trouble("style-trouble")
            weight = gr.Slider(
                0, HEAVIEST, value=0.5, step=0.05, label=say("tab.style_weight"), info=say("tab.style_weight_hint"), visible=False,
                elem_id=element(TAB, "style-weight"),
            )  # fmt: skip
            wires.put("style-weight", weight)
            wires.option("without_lora", gr.Checkbox, visible=False)
            self._words()
            self._loras()
            self._own()

    def _gallery(self) -> None:
        wires = self.wires
        search = gr.Textbox(
            show_label=False, container=False, placeholder=say("tab.search"), max_lines=1, elem_id=element(TAB, "search"),
        )  # fmt: skip
        wires.put("search", search)
        chips = [(say(f"tab.chip_{chip}"), chip) for chip in CHIPS]
        chip = gr.Radio(
            chips, value=CHIPS[0], show_label=False, container=False, elem_id=element(TAB, "chip"), elem_classes=["facechain-chips"]
        )
        wires.put("chip", chip)
        wires.html("styles")

    def _words(self) -> None:
        wires = self.wires
        with gr.Accordion(say("tab.words"), open=False, elem_id=element(TAB, "words")):
            wires.option("prompt", gr.Textbox, lines=3, max_lines=8, value=self.start[0], info=say("tab.prompt_hint"))
            wires.option("template", gr.Radio, value=self.template)
            wires.option("negative", gr.Textbox, lines=2, max_lines=6, value=self.start[1])

    def _loras(self) -> None:
        wires = self.wires
        with gr.Accordion(say("tab.loras"), open=False, elem_id=element(TAB, "loras")):
            for number in range(1, MOST_LORAS + 1):
                with wires.put(f"lora-row-{number}", gr.Row(visible=number == 1, elem_classes=["facechain-lora"])):
                    name = gr.Dropdown(
                        [NONE], value=NONE, label=say("tab.lora"), elem_id=element(TAB, "lora", number), scale=2, min_width=120
                    )
                    wires.put(f"lora-{number}", name)
                    weight = gr.Slider(
                        -HEAVIEST, HEAVIEST, value=0.8, step=0.05, label=say("tab.lora_weight"),
                        elem_id=element(TAB, "lora-weight", number), scale=3, min_width=120,
                    )  # fmt: skip
                    wires.put(f"lora-weight-{number}", weight)

    def _own(self) -> None:
        """A LoRA is dropped, looked at, and becomes a style of one's own."""
        wires = self.wires
        with gr.Accordion(say("tab.own_style"), open=False, elem_id=element(TAB, "own-style")):
            wires.state("lora-file", "")
            fixed(html.zone("lora-drop", "tab.lora_drop", "tab.lora_drop_hint"))
            if wires.studio.door.login:
                fixed(html.lead(say("tab.lora_shared")))
            wires.html("lora-seen")
            wires.put("own-name", gr.Textbox(label=say("tab.own_name"), max_lines=1, elem_id=element(TAB, "own-name")))
            wires.put(
                "own-prompt",
                gr.Textbox(label=say("tab.own_prompt"), lines=2, info=say("tab.own_prompt_hint"), elem_id=element(TAB, "own-prompt")),
            )
            wires.put(
                "own-weight",
                gr.Slider(0, HEAVIEST, value=0.8, step=0.05, label=say("tab.style_weight"), elem_id=element(TAB, "own-weight")),
            )
            wires.button("own-save", "tab.own_save", size="sm", variant="primary")
            wires.html("own-said")
            wires.trouble("own-trouble")
            fixed(
                '<div class="facechain-actions">'
                f"{html.action(say('tab.styles_export'), 'export-styles', '')}"
                f'<button type="button" class="facechain-action" data-drop="styles-drop">{escape(say("tab.styles_import"))}</button></div>'
            )
            wires.html("styles-moved")

    @property
    def lora_values(self) -> list[Any]:
        """The rows of further LoRAs: name and weight by turns."""
        return [self.wires[f"{part}-{number}"] for number in range(1, MOST_LORAS + 1) for part in ("lora", "lora-weight")]

    def connect(self) -> None:
        """Its events."""
        wires = self.wires
        self._connect_gallery()
        for number in range(1, MOST_LORAS):
            name, row = wires[f"lora-{number}"], wires[f"lora-row-{number + 1}"]
            wires.on(name.change, lambda _visitor, chosen: gr.update(visible=chosen != NONE), [name], [row])
        self._connect_own([wires["styles"], *(wires[f"lora-{number}"] for number in range(1, MOST_LORAS + 1))])

    def _connect_own(self, fresh: list[Any]) -> None:
        """Styles of one's own; `fresh`: what shows the styles and LoRAs that are there."""
        wires, trouble = self.wires, self.wires["own-trouble"]

        def then_fresh(event: Any) -> None:
            wires.on(event.then, self.fresh, [wires["choice"]], fresh)

        drop, moved = wires["lora-drop"], wires["styles-drop"]
        own = [wires["lora-seen"], wires["lora-file"], wires["own-name"], wires["own-prompt"], drop]
        then_fresh(wires.on(drop.upload, self.lora_dropped, [drop], own, trouble))
        wanted = [wires["lora-file"], wires["own-name"], wires["own-prompt"], wires["own-weight"], wires["negative"]]
        said = [wires["own-said"], wires["lora-seen"], wires["lora-file"], wires["choice"], wires["chip"]]
        then_fresh(wires.on(wires["own-save"].click, self.own_saved, wanted, said, trouble))
        wires.on(wires["do-export-styles"].change, self.exported, [wires["do-export-styles"]], wires.hands, trouble)
        then_fresh(wires.on(moved.upload, self.imported, [moved], [wires["styles-moved"], moved], trouble))
        gone = wires["do-delete-style"]
        then_fresh(
            wires.on(gone.change, self.deleted, [gone], [wires["style"], wires["chosen"], wires["style-weight"]], wires["style-trouble"])
        )

    def _connect_gallery(self) -> None:
        wires = self.wires
        for name, what in (("search", "text"), ("chip", "chip"), ("do-favourites", "favourites"), ("do-more-styles", "amount")):
            answer = lambda visitor, value, choice, what=what: self.filtered(visitor, what, value, choice)  # noqa: E731
            # In turn: each changes a part of the choice that the one before has left.
            change = in_turn(wires[name].change, "facechain-gallery")
            wires.on(change, answer, [wires[name], wires["choice"]], [wires["choice"], wires["styles"]], wires["style-trouble"])
        picked = [wires[name] for name in ("do-style", "style", "subject", "prompt", "negative", "filled", "choice")]
        filled = [wires[name] for name in ("style", "chosen", "style-weight", "without_lora", "prompt", "negative", "filled", "choice")]
        wires.on(in_turn(wires["do-style"].change, "facechain-gallery"), self.picked, picked, filled, wires["style-trouble"])
        wires.on(wires["without_lora"].change, lambda _visitor: "", [], [wires["style-trouble"]])
        refit = [wires[name] for name in ("subject", "style", "prompt", "filled")]
        wires.on(wires["subject"].change, self.refit, refit, [wires["prompt"], wires["filled"]], wires["style-trouble"])

    def found(self, visitor: Visitor, key: str) -> Bound | None:
        """The style of that key with its LoRA."""
        return next((one for one in self.wires.studio.styles(visitor.user) if one.style.key == key), None)

    def filtered(self, visitor: Visitor, what: str, value: Any, choice: Choice) -> tuple[Choice, str]:
        """The gallery after a filter was changed."""
        if what == "favourites":
            value = tuple(filter(None, first_line(value).split("\t")))
        if what == "amount":
            value = choice.amount + PAGE
        choice = replace(choice, **{"amount": PAGE, what: value or ("" if what == "text" else value)})
        return choice, self.gallery(visitor, choice)

    def gallery(self, visitor: Visitor, choice: Choice) -> str:
        """The cards that are to be seen."""
        fitting = [one for one in self.wires.studio.styles(visitor.user) if fits(one, choice, visitor.language)]
        wanted = sorted(fitting, key=lambda one: not usable(one))  # what can be made stands first
        made = self.wires.studio.history().names(visitor.user, "style")
        cards = [self._card(visitor, one, choice, one.style.key in made) for one in wanted[: choice.amount]]
        more = html.does("more-styles", len(cards), sight="1") if len(wanted) > len(cards) else ""
        return html.gallery(
            cards, label=say("tab.style", visitor.language), more=more, empty=say(f"tab.none_{choice.chip}", visitor.language)
        )

    def _card(self, visitor: Visitor, bound: Bound, choice: Choice, made: bool) -> str:
        style = bound.style
        return html.style_card(
            style.key, style.name(visitor.language), self.cover(visitor, bound, made), mark=mark(bound, visitor.language),
            kind="" if usable(bound) else "facechain-off", chosen=style.key == choice.chosen, favourite=style.key in choice.favourites,
            language=visitor.language,
        )  # fmt: skip

    def cover(self, visitor: Visitor, bound: Bound, made: bool) -> bytes:
        """A style's own picture, else the most alike that was made with it; empty where there is none."""
        if bound.style.thumbnail or not made:
            return bound.style.thumbnail
        history = self.wires.studio.history()
        page = history.page(Wanted(user=visitor.user, style=bound.style.key, sort="likeness"), count=1)
        entry = next((one for one in page.entries if one.there), None)
        return history.thumbnail(visitor.user, entry.id).read_bytes() if entry else b""

    def picked(
        self, visitor: Visitor, sent: str, before: str, subject: str, prompt: str, negative: str, filled: tuple[str, str], choice: Choice
    ) -> tuple[Any, ...]:
        """A style was pressed: large, with its weight and words; pressed once more it is put back."""
        key = first_line(sent)
        bound = None if key == before else self.found(visitor, key)
        words = (fitted(bound, subject), bound.style.negative or self.start[1]) if bound else self.start
        ours = ("", *(one.strip() for one in (*filled, *self.start)))
        free = [text.strip() in ours or bound is not None for text in (prompt, negative)]
        shown = [gr.update(value=text) if untouched else gr.update() for text, untouched in zip(words, free, strict=True)]
        key = bound.style.key if bound else ""
        weight = gr.update(visible=True, value=bound.style.weight) if bound and bound.state == "bound" else gr.update(visible=False)
        without = gr.update(visible=bool(bound and not usable(bound)), value=False)
        return key, self.large(visitor, bound), weight, without, *shown, words, replace(choice, chosen=key)

    def refit(self, visitor: Visitor, subject: str, key: str, prompt: str, filled: tuple[str, str]) -> tuple[Any, Any]:
        """Another subject: the style's words follow, unless they were written anew."""
        bound = self.found(visitor, key)
        if bound is None or prompt.strip() != filled[0].strip():
            return gr.update(), filled
        return fitted(bound, subject), (fitted(bound, subject), filled[1])

    def chosen(self, visitor: Visitor, key: str) -> str:
        """The chosen style, as it is now and in the visitor's language."""
        return self.large(visitor, self.found(visitor, key) if key else None)

    def large(self, visitor: Visitor, bound: Bound | None) -> str:
        """The chosen style: picture, name, which LoRA it means, or what stands against it."""
        if bound is None:
            return ""
        style, language = bound.style, visitor.language
        name = style.name(language)
        cover = (
            html.picture(self.cover(visitor, bound, True), name) or f'<span class="facechain-monogram">{escape(html.monogram(name))}</span>'
        )
        said = self.wires.studio.told(state(bound, language, self.wires.studio.host.folders.loras), visitor.user)
        note = f'<p class="facechain-lead">{escape(said)}</p>' if usable(bound) else bad(said, language)
        gone = html.action(
            say("tab.delete_style", language), "delete-style", style.key, ask=say("tab.delete_style_sure", language, name=name)
        )
        away = html.action(say("tab.no_style", language), "style", style.key)
        return (
            f'<div class="facechain-large"><span class="facechain-cover">{cover}</span><div><h4>{escape(name)}</h4>{note}'
            f'<div class="facechain-actions">{away}{gone if style.own else ""}</div></div></div>'
        )

    def fresh(self, visitor: Visitor, choice: Choice) -> tuple[Any, ...]:
        """The gallery and the lists of LoRAs as they are now."""
        names = [NONE, *(one.name for one in self.wires.studio.loras())]
        return self.gallery(visitor, choice), *(gr.update(choices=names) for _ in range(MOST_LORAS))

    def lora_dropped(self, visitor: Visitor, file: Any) -> tuple[Any, ...]:
        """A LoRA was dropped: once it is known to be one it goes into the host's folder; the words that call it begin a style."""
        with received(file) as found:
            seen = self.wires.studio.install_lora(next(iter(found), Path()))
        words = ", ".join(seen.triggers)
        parts = [say("tab.lora_good", visitor.language, kind=seen.kind, rank=seen.rank, layers=seen.layers, folder=seen.path.parent)]
        parts.append(say("tab.lora_words", visitor.language, words=words) if words else say("tab.lora_wordless", visitor.language))
        said = self.wires.studio.told(f"{seen.path.name} — {' '.join(parts)}", visitor.user)
        return good(said), str(seen.path), seen.alias or seen.path.stem, words, gr.update(value=None)

    def own_saved(self, visitor: Visitor, file: str, name: str, prompt: str, weight: float, negative: str) -> tuple[Any, ...]:
        """The style is kept, with the LoRA that was dropped."""
        from facechain_ext.workflows.lora_files import hashes

        if not file and not (prompt or "").strip():
            raise BadInput("A style needs a LoRA or some words: drop a file, or write what the pictures should show.")
        lora: dict[str, Any] = {"lora": Path(file).name, "weight": weight, "hashes": hashes(Path(file))} if file else {"weight": 0.0}
        against = "" if (negative or "").strip() == self.start[1].strip() else negative
        made = own_style(name or "", prompt or "", negative=against, **lora)
        self.wires.studio.own_styles(visitor.user).save(made)
        return good(say("tab.own_saved", visitor.language, name=made.key)), "", "", Choice(chip="mine"), "mine"

    def exported(self, visitor: Visitor, _sent: str) -> tuple[str, str]:
        """One's own styles as a file to download."""
        text = self.wires.studio.own_styles(visitor.user).exported()
        return self.wires.hand("styles.json", lambda target: target.write_text(text, encoding="utf-8"))

    def imported(self, visitor: Visitor, file: Any) -> tuple[str, Any]:
        """Styles of an exported file are taken in."""
        with received(file) as found:
            text = next(iter(found), Path()).read_text(encoding="utf-8", errors="replace")
        new = self.wires.studio.own_styles(visitor.user).imported(text)
        return good(say("tab.styles_imported", visitor.language, count=len(new))), gr.update(value=None)

    def deleted(self, visitor: Visitor, sent: str) -> tuple[Any, ...]:
        """A style of one's own is deleted; its LoRA stays."""
        self.wires.studio.own_styles(visitor.user).delete(first_line(sent))
        return "", "", gr.update(visible=False)


def usable(bound: Bound) -> bool:
    """Whether the style can be made as it is meant."""
    return bound.state in ("bound", "none")


def fits(bound: Bound, choice: Choice, language: str) -> bool:
    """Whether a style is among those that are to be seen."""
    style = bound.style
    if choice.chip == "installed" and bound.state != "bound":
        return False
    if choice.chip == "mine" and not style.own:
        return False
    if choice.chip == "favourites" and style.key not in choice.favourites:
        return False
    text = f"{style.name_en} {style.name_zh} {style.key} {style.prompt} {style.lora}".casefold()
    return all(word in text for word in choice.text.casefold().split())


def fitted(bound: Bound, subject: str) -> str:
    """The style's words for a subject; for auto, words that fit everybody until the photo was looked at."""
    subject = meant("subject", subject)
    return bound.style.prompt_for("person" if subject in ("auto", "", None) else subject)


def mark(bound: Bound, language: str) -> str:
    """What stands against a style, in a word."""
    keys = {"missing": "tab.mark_missing", "other file": "tab.mark_other", "other model": "tab.mark_model"}
    return say(keys[bound.state], language) if bound.state in keys else ""


def state(bound: Bound, language: str, folder: Path | None) -> str:
    """Which LoRA a style means, or what to do where it cannot be used."""
    style = bound.style
    if bound.state == "bound" and bound.lora is not None:
        return say("tab.style_bound", language, lora=bound.lora.name)
    if bound.state == "none":
        return say("tab.style_none", language)
    if bound.state == "other model":
        return say("tab.style_model", language)
    where = style.source.split(" ")[0]
    source = say("tab.style_source", language, source=where) if where else ""
    key = "tab.style_missing" if bound.state == "missing" else "tab.style_other"
    return say(key, language, lora=style.lora, folder=folder or "Lora", source=source)
