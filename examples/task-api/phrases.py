"""The words and phrasings that task requests are made of.

In a template, ``{t}`` is a title, ``{d}`` a date phrase, ``{p}`` a priority and ``{r}`` a task.
"""

from __future__ import annotations


def words(text: str) -> tuple[str, ...]:
    """The words of a text."""
    return tuple(text.split())


PRIORITIES = ("low", "normal", "high", "urgent")

VERBS = words(
    """
    review write send prepare update finish draft schedule book order buy clean fix check read
    plan organize design test deploy print submit approve revise translate call email pay renew
    cancel return collect deliver install configure upgrade replace repair paint water feed wash
    pack sort scan sign file archive backup migrate refactor document record edit publish share
    present proofread summarize analyze compare measure count order research find choose confirm
    negotiate invite welcome interview train visit
    """
)

MODIFIERS = words(
    """
    quarterly annual weekly monthly new old final first second internal external public private
    marketing sales legal finance product customer team project office company technical design
    kitchen garden travel holiday birthday wedding school spare broken missing draft updated
    revised printed digital online mobile local global short long yearly green blue red small
    large
    """
)

OBJECTS = words(
    """
    report budget invoice contract presentation slides proposal newsletter website roadmap
    agenda minutes survey summary schedule checklist manual guide policy script database server
    backup dashboard release ticket bug feature prototype logo brochure poster flyer banner
    flight hotel tickets passport visa insurance rent taxes bill subscription license groceries
    flowers cake present car bike printer laptop phone router keyboard chairs desk lamp plants
    dog windows kitchen garage garden laundry recipe menu article essay thesis chapter book
    letter email parcel package photos video podcast playlist speech interview
    """
)

NAMES = words(
    """
    Anna Marco Lena Tom Sara Ben Maria Paul Emma David Nina Oscar Julia Felix Clara Hugo Priya
    Wei Omar Yuki Carlos Ingrid Fatima Liam Zoe Ahmed Elena Kofi Mei Ravi
    """
)

TAILS = (
    "for the {o}", "for the {m} {o}", "with {n}", "for {n}", "about the {o}", "to {n}", "from {n}",
    "with the {m} team", "in the {o}", "for {n} with {n}", "about {n}",
)  # fmt: skip

MONTHS = words(
    """
    January February March April May June July August September October November December
    """
)
WEEKDAYS = words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
DAY_PARTS = ("morning", "afternoon", "evening", "night")

# Dates that can follow a title without a preposition.
RELATIVE_DATES = (
    "today", "tomorrow", "tonight", "next week", "next month", "this weekend", "next weekend",
    "this week", "this month",
)  # fmt: skip
OTHER_DATES = (
    "noon", "midnight", "the end of the week", "the end of the month", "the end of the day",
    "the end of the year", "end of day", "end of week", "lunchtime",
)  # fmt: skip

# Words that a random title must not hold, since they carry meaning in a request.
RESERVED_WORDS = frozenset(
    words(
        """
        due date deadline priority low normal high urgent important asap rush hurry please
        thanks thank by before until on open reopen done complete completed finished closed
        pending task tasks list it its this and is to as task item number noon midnight
        today tomorrow tonight week weekend month year day end next title status rename
        called
        """
    )
) | {name.lower() for name in MONTHS + WEEKDAYS + DAY_PARTS}

# ---- create_task -------------------------------------------------------------------------------

CREATE_ANY_CASE = (
    "Create a task: {t}", "Create a new task: {t}", "Add a task: {t}", "Add task: {t}",
    "Add a new task: {t}", "Create task {t}", "Make a task called {t}", "Create a task called {t}",
    "Add a task named {t}", "Add {t} to my list", "Add {t} to my tasks", "Put {t} on my list",
    "Add {t} to my todo list", "Schedule a task: {t}", 'Create a task "{t}"', 'Add the task "{t}"',
    "Set up a task: {t}", "Save a task: {t}", "Open a new task: {t}",
)  # fmt: skip
CREATE_LOWER = (
    "Create a task to {t}", "Add a task to {t}", "Remind me to {t}", "Make a task to {t}",
    "Add a reminder to {t}", "Create a reminder to {t}", "Help me remember to {t}",
    "Set a reminder to {t}",
)  # fmt: skip
CREATE_STATEMENT_ANY_CASE = (
    "New task: {t}", "Task: {t}", "Todo: {t}", "To do: {t}", "Note to self: {t}", "Reminder: {t}",
    "I have a new task: {t}", "{t}",
)  # fmt: skip
CREATE_STATEMENT_LOWER = (
    "I need to {t}", "I have to {t}", "I must {t}", "I want to {t}", "We need to {t}",
    "I should {t}", "Don't let me forget to {t}", "I still have to {t}", "We have to {t}",
)  # fmt: skip
CREATE_WITH_PRIORITY = (
    "Create a {p} priority task: {t}", "Add a {p} priority task: {t}",
    "Create a {p}-priority task: {t}", "Add a {p}-priority task: {t}",
    "Create a task with {p} priority: {t}", "Add a new {p} priority task: {t}",
)  # fmt: skip

DUE_ANY = (
    " by {d}", " before {d}", " due {d}", ", due {d}", " due by {d}", " (due {d})",
    ", deadline {d}", ", deadline: {d}", ", to be done by {d}", " until {d}",
    ", due date {d}", " for {d}",
)  # fmt: skip
DUE_DAY = (" on {d}", ", due on {d}")
DUE_RELATIVE = (" {d}",)
DUE_LEAD = ("By {d}, ", "Before {d}, ", "Due {d}: ", "By {d}: ", "For {d}: ")

PRIORITY_ANY = (
    ", {p} priority", " with {p} priority", " ({p} priority)", ", priority {p}", ", priority: {p}",
    " (priority {p})", "; priority is {p}", ", it has {p} priority", " at {p} priority",
)  # fmt: skip
PRIORITY_IDIOMS = {
    "urgent": (", it is urgent", ", it's urgent", " asap", ", asap", " as soon as possible",
               ", this is urgent", " right away"),
    "high": (", it is important", ", it's important", ", this is important", ", very important"),
    "low": (", no rush", ", no hurry", ", it can wait", ", this is not important",
            ", there is no rush"),
}  # fmt: skip
PRIORITY_LEAD = {
    "urgent": ("Urgent: ", "ASAP: ", "Urgent priority: "),
    "high": ("High priority: ", "Important: "),
    "low": ("Low priority: ", "No rush: ", "Not important: "),
    "normal": ("Normal priority: ",),
}

# ---- the tasks that exist ----------------------------------------------------------------------

TASK_REFS = ("task {n}", "task #{n}", "task number {n}", "task no. {n}", "#{n}", "item {n}",
             "task {n}", "my task {n}", "task ID {n}")  # fmt: skip

COMPLETE = (
    "Mark {r} as complete", "Mark {r} as done", "Mark {r} as finished", "Mark {r} as completed",
    "Complete {r}", "Finish {r}", "Close {r}", "Check off {r}", "Tick off {r}", "Mark {r} done",
    "Set {r} to done", "Set {r} as complete", "Check {r} off",
)  # fmt: skip
COMPLETE_STATEMENT = (
    "I finished {r}", "I have finished {r}", "{r} is done", "{r} is finished", "{r} is complete",
    "I completed {r}", "Done with {r}", "I'm done with {r}", "I just finished {r}",
    "I did {r}", "{r} is completed now",
)  # fmt: skip
DELETE = (
    "Delete {r}", "Remove {r}", "Get rid of {r}", "Drop {r}", "Erase {r}", "Throw away {r}",
    "Take {r} off my list", "Remove {r} from my list", "Delete {r} from the list", "Discard {r}",
    "Cancel {r}",
)  # fmt: skip
DELETE_STATEMENT = (
    "I don't need {r} anymore", "{r} can be deleted", "{r} is no longer needed",
    "I no longer need {r}", "{r} should be deleted", "{r} is not needed anymore",
    "{r} can go", "{r} can be removed",
)  # fmt: skip

UPDATE_DATE = (
    "Move {r} to {d}", "Postpone {r} to {d}", "Postpone {r} until {d}", "Reschedule {r} to {d}",
    "Reschedule {r} for {d}", "Push {r} to {d}", "Change the due date of {r} to {d}",
    "Set the due date of {r} to {d}", "Change the deadline of {r} to {d}", "Make {r} due {d}",
    "Set {r} due {d}", "Delay {r} until {d}",
)  # fmt: skip
UPDATE_DATE_STATEMENT = ("{r} is now due {d}", "{r} is due {d} now", "{r} should be due {d}")
UPDATE_PRIORITY = (
    "Set {r} to {p} priority", "Set the priority of {r} to {p}", "Give {r} {p} priority",
    "Change the priority of {r} to {p}", "Make {r} {p} priority", "Change {r} to {p} priority",
    "Mark {r} as {p} priority", "Set {r} to {p}", "Mark {r} as {p}",
)  # fmt: skip
UPDATE_PRIORITY_STATEMENT = (
    "{r} has {p} priority now", "{r} is now {p} priority", "{r} should have {p} priority",
)  # fmt: skip
UPDATE_TITLE = (
    "Rename {r} to {t}", "Change the title of {r} to {t}", "Set the title of {r} to {t}",
    "Retitle {r} to {t}", 'Rename {r} to "{t}"', "Change the name of {r} to {t}",
)  # fmt: skip
UPDATE_TITLE_STATEMENT = ("{r} should be called {t}", "{r} is now called {t}")
UPDATE_STATUS = ("Reopen {r}", "Mark {r} as open", "Open {r} again", "Mark {r} as not done",
                 "Set {r} to open", "Mark {r} as not finished")  # fmt: skip
UPDATE_STATUS_STATEMENT = ("{r} is not done yet", "{r} is not finished yet", "{r} is open again")

ALSO = {
    "due_date": (" and move it to {d}", " and make it due {d}", " and set the due date to {d}",
                 " and change the deadline to {d}"),
    "priority": (" and make it {p} priority", " and set the priority to {p}",
                 " and give it {p} priority", " and change the priority to {p}"),
    "title": (" and rename it to {t}", " and change the title to {t}", " and call it {t}"),
}  # fmt: skip
UPDATE_FIELDS = ("Update {r}: ", "Change {r}: ", "Edit {r}: ", "Update {r} with ")
FIELD = {
    "title": ("title {t}", "title: {t}", "new title {t}"),
    "due_date": ("due {d}", "due date {d}", "due: {d}", "deadline {d}"),
    "priority": ("priority {p}", "{p} priority", "priority: {p}"),
}

# ---- list_tasks --------------------------------------------------------------------------------

LIST_VERBS = ("List ", "Show ", "Show me ", "Give me ", "Display ", "Get ", "Print ",
              "Let me see ", "Find ")  # fmt: skip
LIST_DETERMINERS = ("", "all ", "my ", "all my ", "the ", "all the ", "all of my ")
LIST_QUESTIONS = (
    "Do I have any {adj}tasks{date}?", "Are there any {adj}tasks{date}?",
    "Which {adj}tasks do I have{date}?", "What {adj}tasks do I have{date}?",
    "What are my {adj}tasks{date}?", "What {adj}tasks are there{date}?",
)  # fmt: skip
LIST_DUE_QUESTIONS = (
    "What is due {d}?", "What's due {d}?", "Which tasks are due {d}?", "What tasks are due {d}?",
    "Is anything due {d}?", "What do I have to do by {d}?", "What is on my list for {d}?",
)  # fmt: skip
LIST_ALL_QUESTIONS = (
    "What is on my list?", "What's on my list?", "What do I have on my list?",
    "What are all my tasks?", "Which tasks are there?",
)  # fmt: skip
STATUS_QUESTIONS = {
    "open": ("What is still open?", "Which tasks are still open?", "What do I still have to do?",
             "What is left to do?", "Which tasks are not done yet?", "What is not finished yet?"),
    "done": ("What have I finished?", "Which tasks are done?", "What is already done?",
             "Which tasks have I completed?", "What did I finish?", "Which tasks are finished?"),
}  # fmt: skip
STATUS_ADJECTIVES = {
    "open": ("open ", "pending ", "unfinished ", "outstanding "),
    "done": ("completed ", "finished ", "closed ", "done "),
}
STATUS_CLAUSES = {
    "open": (
        " that are open",
        " that are still open",
        " that are not done",
        " I have not finished",
    ),
    "done": (" that are done", " that are finished", " I have finished", " I have completed"),
}
PRIORITY_ADJECTIVES = ("{p}-priority ", "{p} priority ", "{p}-priority ")
PRIORITY_CLAUSES = (" with {p} priority", " that have {p} priority", " with priority {p}")
LIST_DATES = (" due {d}", " for {d}", " due by {d}", " that are due {d}", " with due date {d}")

# ---- around a request --------------------------------------------------------------------------

REQUEST_OPENERS = (
    "Please ",
    "Can you ",
    "Could you ",
    "Could you please ",
    "Can you please ",
    "I'd like you to ",
    "Would you ",
    "Hey, ",
    "Hi, ",
    "Hello, please ",
    "Now ",
)
STATEMENT_OPENERS = ("Hey, ", "Hi, ", "Hello, ", "OK, ", "So ")
CLOSERS = (".", ".", "!", ", please", ", thanks", ". Thanks!", ". Thank you", " please")

SYSTEM_PROMPT = "Answer with one JSON object."
OTHER_SYSTEM_PROMPTS = (
    "You are the task API.", "Answer with JSON only.", "You are a helpful assistant.",
    "You manage a list of tasks. Answer with one JSON object.",
    "You turn plain English into one JSON object for the task API.",
    "Reply with exactly one JSON object and nothing else.",
)  # fmt: skip
