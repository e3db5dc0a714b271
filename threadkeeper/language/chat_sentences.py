"""The sentences that the chat says to a user: what it does with them is in `words`.

A sentence about a failure says what happened, what became of what was there, and what to do now. English comes first,
then Chinese.
"""

from __future__ import annotations

SENTENCES: dict[str, tuple[str, str]] = {
    # Why a model gave no answer, or no more of it.
    "error_auth": (
        "The model server did not accept this chat's access key. Your message is kept; "
        "please tell whoever runs this chat.",
        "模型服务没有接受本站的访问密钥。请告诉本站的管理员；您的消息已经保存。",
    ),
    "error_quota": (
        "The account that pays for the model has run out. Please tell whoever runs this chat; your message is kept.",
        "模型服务的账户额度已经用完。请告诉本站的管理员；您的消息已经保存。",
    ),
    "error_rate_limit": (
        "The model is getting too many requests just now. Please wait a minute, then try again.",
        "模型现在收到的请求太多。请等一分钟再试。",
    ),
    "error_server": (
        "The model server failed. That usually passes: please try again in a moment.",
        "模型服务出错了。这种情况一般很快会好：请稍后再试。",
    ),
    "error_timeout": (
        "The model stayed silent for too long. Please try again; a shorter question may help.",
        "模型太久没有回应。请再试一次；把问题缩短一些也许有用。",
    ),
    "error_cut": (
        "The connection to the model broke before the answer was complete. What came is kept. Please try again.",
        "回答还没有完成，与模型的连接就断了。已经收到的部分保存了下来。请再试一次。",
    ),
    "error_unreachable": (
        "The model server cannot be reached. Please try again in a moment; "
        "if it stays so, tell whoever runs this chat.",
        "连接不上模型服务。请稍后再试；如果一直这样，请告诉本站的管理员。",
    ),
    "error_refused": (
        "The model server refused this request. Please change the message or the settings and try again.",
        "模型服务拒绝了这个请求。请修改消息或设置后再试。",
    ),
    "error_filtered": (
        "The model server's content filter held the answer back. Please put the question differently.",
        "模型服务的内容过滤没有放行回答。请换一种方式提问。",
    ),
    "error_empty": (
        "The model answered without a single word. Please try again.",
        "模型的回答是空的。请再试一次。",
    ),
    "error_not_found": (
        "The model “{model}” is not there. Please choose another one and send the question again, "
        "or tell whoever runs this chat.",
        "找不到模型“{model}”。请选择其他模型并重新发送问题，或者告诉本站的管理员。",
    ),
    "error_too_long": (
        "This message is too long for the model, attachments included. Please shorten it or attach less.",
        "这条消息连同附件对模型来说太长了。请缩短消息或减少附件。",
    ),
    "error_too_long_counted": (
        "This message has about {tokens} tokens, attachments included; the model takes {window}. "
        "Please shorten it or attach less.",
        "这条消息连同附件大约有 {tokens} 个词元，模型最多接受 {window} 个。请缩短消息或减少附件。",
    ),
    # What is asked after a thumb down, and said of what was reviewed. The reasons are the usual ones; an operator's
    # own are said as they are set.
    "why_ask": ("What was wrong?", "哪里不好？"),
    "why_hint": ("Say why the answer is not good", "说明回答不好的原因"),
    "why_thanks": ("Thank you. A reviewer can see the reason.", "谢谢，审阅者可以看到原因。"),
    "why_gone": ("There is no thumb of yours on this answer any more.", "您对这个回答的评价已不存在。"),
    "reason_incorrect": ("Not correct", "内容有误"),
    "reason_incomplete": ("Incomplete", "不完整"),
    "reason_off-topic": ("Not what I asked", "答非所问"),
    "reason_unsafe": ("Unsafe", "不安全"),
    "reason_slow": ("Too slow", "太慢"),
    "reviewed": ("Reviewed", "已审阅"),
    "reviewed_hint": ("This answer was reviewed on {day}.", "这个回答已于 {day} 审阅。"),
    "reviewed_words": (
        "A reviewer looked at this answer. Who looked at your threads is on the page “You”.",
        "审阅者查看过这个回答。谁查看过您的对话，请见“您”页面。",
    ),
    # What may be used.
    "error_over_limit": (
        "You have used up what you may use of the models for now. Your message is kept.",
        "您目前可以使用的模型额度已经用完。您的消息已经保存。",
    ),
    "error_over_limit_user": (
        "You have used up what you may use of the models {period}: {amount}. "
        "You can go on {again}; your message is kept. Whoever runs this chat can raise the limit.",
        "您{period}可以使用的模型额度（{amount}）已经用完。{again}可以继续；您的消息已经保存。本站的管理员可以提高额度。",
    ),
    "error_over_limit_project": (
        "This chat has used up what it may use of the models {period}: {amount}. "
        "It goes on {again}; your message is kept. Whoever runs this chat can raise the limit.",
        "本站{period}可以使用的模型额度（{amount}）已经用完。{again}可以继续；您的消息已经保存。本站的管理员可以提高额度。",
    ),
    "error_little_left_user": (
        "Of the {amount} that you may use of the models {period}, {left} are left, and this question with its thread "
        "needs about {need}. Ask in a new thread, or more shortly; you have all of it again {again}. "
        "Your message is kept.",
        "您{period}的模型额度（{amount}）还剩 {left}，而这个问题连同它的对话大约需要 {need}。"
        "请新建一个对话提问，或者把问题缩短；{again}额度会恢复。您的消息已经保存。",
    ),
    "error_little_left_project": (
        "Of the {amount} that this chat may use of the models {period}, {left} are left, and this question with its "
        "thread needs about {need}. Ask in a new thread, or more shortly; it has all of it again {again}. "
        "Your message is kept.",
        "本站{period}的模型额度（{amount}）还剩 {left}，而这个问题连同它的对话大约需要 {need}。"
        "请新建一个对话提问，或者把问题缩短；{again}额度会恢复。您的消息已经保存。",
    ),
    "error_in_flight": (
        "What may still be used of the models is set aside for answers that are being written. "
        "Please wait until they are done, then try again.",
        "剩余的模型额度已经留给正在生成的回答。请等它们完成后再试。",
    ),
    "error_limit_unchecked": (
        "It cannot be checked now how much you may still use. Your message is kept; please try again in a moment.",
        "现在无法确认您还有多少额度。您的消息已经保存；请稍后再试。",
    ),
    "error_unpriced": (
        "There is a limit in dollars here, and nobody knows what the model “{model}” costs, so it cannot be used. "
        "Please choose another one and send the question again, or tell whoever runs this chat.",
        "本站设有金额上限，而模型“{model}”的价格未知，所以不能使用。请选择其他模型并重新发送问题，或者告诉本站的管理员。",
    ),
    "limit_nearly_user": (
        "You have used {percent} % of what you may use of the models {period}: {amount}.",
        "您{period}的模型额度（{amount}）已经用了 {percent}%。",
    ),
    "limit_nearly_project": (
        "This chat has used {percent} % of what it may use of the models {period}: {amount}.",
        "本站{period}的模型额度（{amount}）已经用了 {percent}%。",
    ),
    "limit_today": ("today", "今天"),
    "limit_this_month": ("this month", "本月"),
    "limit_tomorrow": ("tomorrow", "明天"),
    "limit_next_month": ("next month", "下个月"),
    "limit_tokens": ("{tokens} tokens", "{tokens} 个词元"),
    "dollars": ("${dollars}", "{dollars} 美元"),
    # What stands under an answer: model, tokens, cost, speed.
    "footer_tokens": ("{tokens} tokens", "{tokens} 个词元"),
    "footer_tokens_estimated": ("about {tokens} tokens", "约 {tokens} 个词元"),
    "footer_speed": ("{speed} tokens/s", "每秒 {speed} 个词元"),
    "footer_details": (
        "{question} tokens went to the model, {answer} came back.",
        "发给模型 {question} 个词元，收到 {answer} 个。",
    ),
    "footer_first_word": ("The first word came after {seconds} s.", "{seconds} 秒后收到第一个字。"),
    "try_again": ("Try again", "重试"),
    "try_again_hint": ("Ask the same question once more", "把同一个问题再问一次"),
    "nothing_to_retry": (
        "The question of this answer is no longer there. Please ask it again.",
        "这个回答对应的问题已经不在了。请重新提问。",
    ),
    "retry_too_late": (
        "The conversation has gone on since then. Please ask the question again.",
        "在那之后对话已经继续了。请重新提问。",
    ),
    "thread_deleted": (
        "This thread was deleted, so nothing that is said here is kept. Please start a new one.",
        "这个对话已被删除，这里说的内容不会保存。请新建一个对话。",
    ),
    # What stands under an answer that is not whole.
    "mark_stopped": ("Stopped here.", "已停止。"),
    "mark_cut": ("The answer was cut off here.", "回答在这里中断了。"),
    "mark_length": (
        "The answer reached the set maximum of tokens here.",
        "回答在这里达到了设定的词元上限。",
    ),
    "mark_filtered": (
        "The model server's content filter ended the answer here.",
        "模型服务的内容过滤在这里结束了回答。",
    ),
    # Attachments that are not taken, and those taken in part.
    "attachment_too_large": (
        "“{name}” is too large: at most {megabytes} MB a file. Please attach a smaller one.",
        "“{name}”太大：每个文件最多 {megabytes} MB。请换一个小一些的文件。",
    ),
    "attachment_total_too_large": (
        "These files are too large together: at most {megabytes} MB can go with one message. "
        "Please send some of them with the next one.",
        "这些文件加起来太大：一条消息最多带 {megabytes} MB。请把其中一部分随下一条消息发送。",
    ),
    "attachment_no_picture": (
        "Pictures cannot be attached here, so “{name}” was not sent. Please describe it in words.",
        "这里不能附上图片，所以没有发送“{name}”。请用文字描述它。",
    ),
    "attachment_no_pdf": (
        "PDF files cannot be attached here, so “{name}” was not sent. Please copy the text that matters.",
        "这里不能附上 PDF 文件，所以没有发送“{name}”。请复制需要的文字。",
    ),
    "attachment_no_text": (
        "Text files cannot be attached here, so “{name}” was not sent. Please copy what matters into your message.",
        "这里不能附上文本文件，所以没有发送“{name}”。请把需要的内容复制到消息里。",
    ),
    "attachment_too_many": (
        "At most {limit} files can go with one message. Please send the others with the next one.",
        "一条消息最多带 {limit} 个文件。其余的请随下一条消息发送。",
    ),
    "attachment_empty": (
        "“{name}” is empty, so it was not sent.",
        "“{name}”是空文件，没有发送。",
    ),
    "attachment_unsupported": (
        "“{name}” cannot be read here. Pictures (PNG, JPEG, GIF, WebP), PDF and text files can.",
        "这里无法读取“{name}”。可以使用图片（PNG、JPEG、GIF、WebP）、PDF 和文本文件。",
    ),
    "attachment_no_vision": (
        "This model cannot see pictures, so “{name}” was not sent. Please describe it in words.",
        "这个模型看不到图片，所以没有发送“{name}”。请用文字描述它。",
    ),
    "attachment_pdf_encrypted": (
        "“{name}” is locked with a password. Please attach a copy without one.",
        "“{name}”有密码保护。请附上没有密码的副本。",
    ),
    "attachment_pdf_without_text": (
        "“{name}” holds no text, only scanned pages. Please attach the pages as pictures, or a PDF with text.",
        "“{name}”里没有文字，只有扫描的页面。请把页面作为图片附上，或者使用带文字的 PDF。",
    ),
    "attachment_pdf_broken": (
        "“{name}” is a damaged PDF and could not be read. Please save it anew and attach that.",
        "“{name}”是损坏的 PDF，无法读取。请重新保存后再附上。",
    ),
    "attachment_pdf_slow": (
        "“{name}” took longer than {seconds} seconds to read. Please attach only the pages that matter.",
        "读取“{name}”超过了 {seconds} 秒。请只附上需要的页面。",
    ),
    "notice_cut": (
        "Only the first {kept} of {total} characters of “{name}” went to the model.",
        "“{name}”共有 {total} 个字符，只有前 {kept} 个发给了模型。",
    ),
    "notice_pages": (
        "Only the first {kept} of {total} pages of “{name}” went to the model.",
        "“{name}”共有 {total} 页，只有前 {kept} 页发给了模型。",
    ),
    "notice_encoding": (
        "The encoding of “{name}” could not be told for certain; it was read as {encoding}.",
        "无法确定“{name}”的文字编码；已按 {encoding} 读取。",
    ),
    # Settings, picker, header.
    "setting_system_prompt": ("System prompt", "系统提示词"),
    "setting_system_prompt_hint": (
        "What the model is told before every conversation. Empty: the default of this chat.",
        "每次对话之前告诉模型的话。留空则使用本站的默认内容。",
    ),
    "setting_temperature": ("Temperature", "温度"),
    "setting_temperature_hint": (
        "Low: steady and literal. High: varied and free. Some models take only 1.",
        "低：稳定、贴近字面。高：多变、自由。有些模型只接受 1。",
    ),
    "setting_max_tokens": ("Longest answer, in tokens", "回答的词元上限"),
    "setting_max_tokens_hint": (
        "0 leaves the length to the model. A token is about three quarters of an English word.",
        "0 表示由模型决定长度。一个词元大约是一个汉字，或四分之三个英文单词。",
    ),
    "model_picker": ("Model", "模型"),
    "model_unknown": (
        "The model “{model}” is no longer offered here; “{other}” answers instead.",
        "这里不再提供模型“{model}”，改由“{other}”回答。",
    ),
    "demo_header": ("Demo: no language model is connected", "演示：没有连接语言模型"),
    # Starters: label and message.
    "starter_explain": ("Explain something", "解释一个概念"),
    "starter_explain_message": (
        "Explain how vaccines train the immune system, in plain words and with one everyday comparison.",
        "请用通俗的语言解释疫苗是怎样训练免疫系统的，并用一个日常的比喻。",
    ),
    "starter_improve": ("Improve a text", "修改文字"),
    "starter_improve_message": (
        "Make this e-mail shorter and friendlier, and tell me what you changed:\n\n"
        "Dear Sir or Madam, I am writing to you in order to enquire whether it would be at all possible to move our "
        "appointment of Tuesday to a later point in time.",
        "请把下面的邮件改得更简短、更亲切，并说明改了什么：\n\n尊敬的先生/女士：兹致函询问，可否将我们原定于星期二的会面改至稍晚的时间进行。",
    ),
    "starter_plan": ("Make a plan", "制定计划"),
    "starter_plan_message": (
        "I want to learn to cook in four weeks, half an hour a day. Make a plan as a table, one row a week.",
        "我想用四周学会做饭，每天半小时。请用表格做一个计划，每周一行。",
    ),
    "starter_code": ("Write some code", "写一段代码"),
    "starter_code_message": (
        "Write a Python function that finds duplicate files below a folder by their content, and explain it briefly.",
        "请写一个 Python 函数，按内容找出某个文件夹下的重复文件，并简要说明。",
    ),
    # The store, and who may use it.
    "not_saved": (
        "This could not be saved, so it may be missing when you come back. Please copy what you need; "
        "whoever runs this chat has been told.",
        "这些内容没有保存成功，您再回来时可能看不到。请复制需要的内容；本站的管理员已经得到通知。",
    ),
    "file_not_saved": (
        "A file could not be saved, so it will be missing when you come back. Your message is kept; "
        "please attach the file again in a while.",
        "有一个文件没有保存成功，您再回来时会看不到它。您的消息已经保存；请过一会儿再附上这个文件。",
    ),
    "account_disabled": (
        "This account has been disabled. Please turn to whoever runs this chat.",
        "这个账户已被停用。请联系本站的管理员。",
    ),
    "older_left_out": (
        "The conversation has grown longer than the model can take: it no longer sees the oldest messages.",
        "对话已经超过模型能接受的长度：它看不到最早的消息了。",
    ),
    "something_failed": (
        "Something went wrong on our side. Your message is kept; please try again. (Reference: {reference})",
        "我们这边出了问题。您的消息已经保存，请再试一次。（编号：{reference}）",
    ),
    # The demo model.
    "demo_answer": (
        "This is a **demo**: no language model is connected, so nothing has read what you wrote, "
        "and this is not an answer to it.",
        "这是**演示**：没有连接语言模型，所以您写的内容没有被任何模型读过，这也不是对它的回答。",
    ),
    "demo_received": (
        "What a model would have been given: messages in the context: {messages}; "
        "characters in your message: {characters}.",
        "本来会发给模型的内容：上下文里的消息数：{messages}；您这条消息的字符数：{characters}。",
    ),
    "demo_attachments": ("Attached to it: {names}.", "所带的附件：{names}。"),
    "demo_connect": (
        "To connect one, whoever runs this chat sets `OPENAI_API_KEY` (OpenAI) or `OPENAI_BASE_URL` "
        "(any compatible server, for example one on this machine) and starts it again.",
        "要连接模型，请本站的管理员设置 `OPENAI_API_KEY`（OpenAI）或 `OPENAI_BASE_URL`"
        "（任何兼容的服务，例如本机上的），然后重新启动。",
    ),
    "demo_kept": (
        "Everything else is real: this conversation, its files and your thumbs are kept, "
        "and you find them again in the side bar.",
        "其余的都是真的：这段对话、其中的文件和您的评价都会保存，您可以在侧边栏里再次找到它们。",
    ),
}
