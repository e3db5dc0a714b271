"""A takeout of Gemini from a German account, newest first."""

from typing import Any

from tests.support.exports import PNG, Export, Thread, iso, zipped


def record(title: str, at: float, *answers: str, **fields: Any) -> dict[str, Any]:
    about = {"header": "Gemini-Apps", "title": title, "time": iso(at), "products": ["Gemini-Apps"]}
    return about | ({"safeHtmlItem": [{"html": answer} for answer in answers]} if answers else {}) | fields


EXPORT = Export(
    "gemini",
    zipped(
        {
            "Takeout/Meine Aktivitäten/Gemini-Apps/MeineAktivitäten.json": [
                record("Canvas erstellt", 100),
                record(
                    "Eingegebener Prompt: Und nachts?", 90_004, "<p>Nachts <b>auch</b>.</p>", "<ul><li>ja</li></ul>"
                ),
                record("Eingegebener Prompt: Ohne Antwort", 90_003),
                *(record(f"Eingegebener Prompt: Frage {number}", 90_002 - number, "<p>ok</p>") for number in range(3)),
                record(
                    "Eingegebener Prompt: Was frisst ein Beutelwolf?",
                    1,
                    "<p>Fleisch.</p>",
                    imageFile="wolf.png",
                    attachedFiles=["weg.pdf"],
                ),
            ],
            "Takeout/Meine Aktivitäten/Gemini-Apps/wolf.png": PNG,
        }
    ),
    (
        Thread(
            "Was frisst ein Beutelwolf?",
            (("user_message", "Was frisst ein Beutelwolf?", 1), ("assistant_message", "Fleisch.", 1.001001)),
            models=(None,),
            files={"wolf.png": PNG},
        ),
        *(
            Thread(
                f"Frage {number}",
                (
                    ("user_message", f"Frage {number}", 90_002 - number),
                    ("assistant_message", "ok", 90_002.001001 - number),
                ),
                models=(None,),
            )
            for number in (2, 1, 0)
        ),
        Thread("Ohne Antwort", (("user_message", "Ohne Antwort", 90_003),)),
        Thread(
            "Und nachts?",
            (("user_message", "Und nachts?", 90_004), ("assistant_message", "Nachts **auch**.\n\n- ja", 90_004.001001)),
            models=(None,),
        ),
    ),
    "beutelwolf",
    (),
    {"missing_files": 1, "other_activity": 1},
)
