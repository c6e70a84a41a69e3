"""What the OpenAPI document says of the native API: jobs, pictures, events, what can be asked for.

Types for TypeScript are generated from these, so each says exactly what is sent.
"""

from __future__ import annotations

from typing import Any, get_args

from .job import Format, State
from .schemas import (
    BOOLEAN,
    INTEGER,
    SIZE,
    Schema,
    list_of,
    map_of,
    maybe,
    named,
    number,
    object_of,
    text,
    whole,
    whole_object,
)

MOST_CAPTIONS = 64
"""Of a picture that is probed."""
TIME = number("Seconds since 1970; 0: not yet.")
FORMAT = text(enum=list(get_args(Format)))
FIELDS: Schema = {"type": "object", "additionalProperties": True}

FINISH = named(
    "FinishAsked",
    object_of(
        [],
        size=maybe({**SIZE, "description": "Width and height; null: as drawn."}),
        format=FORMAT,
        quality=whole(1, 100, "Of JPEG and WebP.", default=95),
    ),
)
ASKED = object_of(
    ["ability"],
    ability=text("See /v1/capabilities."),
    fields={**FIELDS, "description": "Of the ability's request."},
    inputs=map_of(text(), "Field: id of an uploaded or drawn picture."),
    model=maybe(text("The first one by default.")),
    finish=FINISH,
)

_DRAWN: dict[str, Schema] = {
    "id": text("32 hexadecimal digits, a secret."),
    "seed": {**INTEGER, "description": "Draws it again."},
    "width": INTEGER,
    "height": INTEGER,
    "native": {**SIZE, "description": "Width and height that the model drew."},
    "bytes": INTEGER,
    "format": FORMAT,
    "favourite": BOOLEAN,
    "url": text("Needs no key, for an hour."),
}
DRAWN = named("JobPicture", whole_object(**_DRAWN))
FAILURE = named(
    "Failure",
    whole_object(code=text(), message=text(), field=maybe(text("The field at fault."))),
)
JOB = named(
    "Job",
    whole_object(
        id=text("32 hexadecimal digits."),
        ability=text(),
        fields={**FIELDS, "description": "Of the ability's request, as they were asked for."},
        inputs=map_of(text(), "Field: id of a stored picture."),
        model=text(),
        finish=named(
            "Finish",
            whole_object(
                size=maybe(SIZE), format=FORMAT, quality=INTEGER, record=BOOLEAN, marked=BOOLEAN
            ),
        ),
        state=text(enum=list(get_args(State))),
        place=maybe(whole(0, 10**6, "Jobs before it in the queue; null: it does not wait.")),
        created=TIME,
        started=TIME,
        finished=TIME,
        failure=maybe(FAILURE),
        pictures=list_of(DRAWN),
    ),
)
JOBS = named("Jobs", whole_object(data=list_of(JOB)))

PICTURE = named(
    "Picture",
    whole_object(
        **_DRAWN,
        file=text("Where the file is, however old; needs the key."),
        job=text("Id of the job that drew it."),
        ability=text(),
        fields=FIELDS,
        inputs=map_of(text(), "Field: id of a stored picture."),
        model=text(),
        created=TIME,
        tags=list_of(text()),
        collections=list_of(text(), "Ids."),
        deleted=number("When, in seconds since 1970; 0: it is there."),
    ),
)
PICTURES = named("Pictures", whole_object(data=list_of(PICTURE)))
RECORD = named(
    "Record",
    whole_object(
        ability=text(),
        fields={**FIELDS, "description": "For a job that draws it: those that are no defaults."},
        seed=INTEGER,
        inputs=map_of(text(), "Field: digest of a picture that it began from, which is needed."),
        model=text("As the picture names it."),
        served=maybe(text("The served model that drew it, by its hash.")),
        program=text("That made it."),
        left=list_of(text(), "What it says that is not taken over, and why."),
    ),
)
UPLOADED = named(
    "Upload",
    whole_object(
        id=text("64 hexadecimal digits, for `inputs`."),
        width=INTEGER,
        height=INTEGER,
        record={**maybe(RECORD), "description": "How it was made, where its file says so."},
    ),
)
CHANGES = named(
    "PictureChanges",
    object_of(
        [],
        favourite=maybe(BOOLEAN),
        add_tags=list_of(text()),
        remove_tags=list_of(text()),
        add_collections=list_of(text(), "Ids."),
        remove_collections=list_of(text(), "Ids."),
    ),
)
COMMANDS = named(
    "Commands",
    whole_object(
        cli=text("A line for the shell."),
        python=text("Lines of Python."),
        curl=text("A line for the shell, of this server."),
        files=map_of(text(), "Name of a file in `cli` and `python`: id of the picture in it."),
    ),
)
CHANGED = named("Changed", whole_object(id=text()))
METADATA: Schema = {
    **BOOLEAN,
    "default": True,
    "description": "Whether files say how they were made.",
}
IDS = named("PictureIds", object_of(["ids"], ids=list_of(text()), metadata=maybe(METADATA)))
TAGS = named("Tags", whole_object(data=map_of(INTEGER, "Tag: how many pictures have it.")))
COLLECTION = named(
    "Collection",
    whole_object(
        id=text(), name=text(), created=TIME, pictures={**INTEGER, "description": "How many."}
    ),
)
COLLECTIONS = named("Collections", whole_object(data=list_of(COLLECTION)))
NAME = named("CollectionName", whole_object(name=text()))
SESSION = named(
    "Session",
    whole_object(
        needs_key=BOOLEAN,
        owner=maybe(text("Who asks; null: nobody is logged in.")),
        csrf=maybe(text("What a browser sends in x-csrf-token.")),
    ),
)
LOGIN = named("Login", whole_object(key=text("An API key.")))

SETTING = named(
    "Setting",
    object_of(
        ["nullable"],
        type=text(enum=["number", "integer", "string", "array", "boolean", "object"]),
        enum=list_of({}, "Its choices."),
        minimum=number(),
        exclusiveMinimum=number(),
        maximum=number(),
        exclusiveMaximum=number(),
        items={"$ref": "#/components/schemas/Items"},
        minItems=INTEGER,
        maxItems=INTEGER,
        default={"description": "The model's own, or the ability's."},
        description=text(),
        nullable={**BOOLEAN, "description": "Null is allowed, and means the default."},
    ),
)
named(
    "Items",
    object_of(["type"], type=text(enum=["number", "integer", "string"]),
              minimum=number(), maximum=number()),
)  # fmt: skip
_STAGE_SETTING = named(
    "StageSetting",
    {
        "allOf": [
            SETTING,
            whole_object(name=text("What `settings` of a request call it, such as prior_steps.")),
        ]
    },
)
ABILITY = named(
    "Ability",
    whole_object(
        help=text(),
        needs=list_of(text(), "What of a model it needs."),
        fields=whole_object(
            properties=map_of(SETTING, "Field: what may be in it."),
            required=list_of(text()),
        ),
        inputs=map_of(
            whole_object(
                description=text(),
                required=BOOLEAN,
                or_text={**BOOLEAN, "description": "A text may be in `fields` instead."},
            ),
            "Field: the picture in it.",
        ),
    ),
)
SERVED = named(
    "Model",
    whole_object(
        name=text(),
        default={**BOOLEAN, "description": "It is used where none is named."},
        size={**SIZE, "description": "Width and height that it draws."},
        abilities=list_of(text()),
        priors=list_of(text(), "Names for a request's `prior`; 'none' is allowed too."),
        decoders=list_of(text(), "Names for a request's `decoder`."),
        optional=list_of(text(), "Stages that run where a request's `size` asks for them."),
        settings=map_of(map_of(_STAGE_SETTING), "Stage: setting: what it is."),
        words=list_of(text(), "That it knows, most frequent first; empty: it lists none."),
        hash=text("Of its files."),
    ),
)
CAPABILITIES = named(
    "Capabilities",
    whole_object(
        abilities=map_of(ABILITY, "Those that a model here has."),
        models=list_of(SERVED, "The first is the default."),
        aliases=map_of(text(), "Another name: a model; empty: the default one."),
        finish=map_of(SETTING, "How pictures may be delivered."),
        limits=whole_object(
            pictures={**INTEGER, "description": "Of a job."},
            queued={**INTEGER, "description": "Own jobs that may wait."},
            body_bytes={**INTEGER, "description": "Of a request."},
            side={**INTEGER, "description": "Pixels of a delivered picture's."},
        ),
    ),
)

WORDS_ASKED = named(
    "WordsAsked", object_of(["prompt"], prompt=text(), model=maybe(text("As of a job.")))
)
WORDS = named(
    "Words",
    whole_object(
        unknown=list_of(
            whole_object(word=text(), near=list_of(text(), "Known words that are like it.")),
            "Words of the prompt that the model was not trained on, in order.",
        )
    ),
)
PROBE_ASKED = named(
    "ProbeAsked",
    object_of(
        ["image", "captions"],
        image=text("Id of an uploaded or drawn picture."),
        captions={**list_of(text(minLength=1)), "minItems": 2, "maxItems": MOST_CAPTIONS},
        model=maybe(text("As of a job.")),
    ),
)
PROBE = named(
    "Probe", whole_object(shares=map_of(number(), "Caption: its share of 1, the largest first."))
)


def _events(job: dict[str, Any]) -> dict[str, Schema]:
    """The data of a job's events by kind; `job` is in each."""
    ended = {kind: whole_object(**job) for kind in ("cancelled",)}
    return {
        "queued": whole_object(place={**INTEGER, "description": "Jobs before it."}, **job),
        "started": whole_object(
            together={**INTEGER, "description": "Jobs that are drawn with it."}, **job
        ),
        "step": whole_object(
            stage=text(),
            index=INTEGER,
            total=INTEGER,
            share=number("Of the whole work, 0 to 1."),
            **job,
        ),
        "preview": object_of(
            ["index", "picture", *job],
            index={**INTEGER, "description": "Of the picture in its job, from 0."},
            picture=text("A PNG in base64."),
            number=INTEGER,
            share=number(),
            **job,
        ),
        "done": whole_object(pictures=list_of(text(), "Ids."), **job),
        "failed": whole_object(
            code=text(), message=text(), field=maybe(text("The field at fault.")), **job
        ),
        **ended,
    }


JOB_EVENTS = named(
    "JobEvents",
    {
        **whole_object(
            **{
                kind: {"allOf": [data, whole_object(job=JOB)]}
                if kind in ("done", "failed", "cancelled")
                else data
                for kind, data in _events({}).items()
            }
        ),
        "description": "The data of each kind of event of /v1/jobs/{id}/events.",
    },
)
EVENTS = named(
    "Events",
    {
        **whole_object(
            jobs=whole_object(
                jobs=list_of(JOB),
                missed={**BOOLEAN, "description": "Events were left out: read pictures again."},
            ),
            job=whole_object(job=JOB),
            pictures=whole_object(
                ids=list_of(text()), change=text(enum=["changed", "deleted", "restored"])
            ),
            **_events({"job": text("The job's id.")}),
        ),
        "description": "The data of each kind of event of /v1/events.",
    },
)
