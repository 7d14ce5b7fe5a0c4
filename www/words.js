// The texts of the page, in English and Chinese, and the format of numbers and times.
//
// A text may contain {names}, which word() fills in. Both languages have the same keys, which the browser test checks.

export const WORDS = {
  en: {
    tagline: "any program on a WebSocket",
    echoTitle: "Echo",
    shellTitle: "Shell",
    commandTitle: "Command",
    open: "Open",
    close: "Close",
    reconnect: "Reconnect",
    send: "Send",
    clear: "Clear",
    message: "Message",
    line: "Line to send",
    kind: "Kind of message",
    text: "Text",
    binary: "Binary",
    echoHint: "Open the connection and send a message: it comes back as it went.",
    echoPlaceholder: "A message",
    shellHint: "Open the connection, or just send a line: each line goes to {command}, and what it prints appears here.",
    shellPlaceholder: "A line for {command}",
    keys: "Enter sends · ↑ ↓ history · Shift+Enter new line",
    idle: "Not open",
    connecting: "Connecting",
    opened: "Open",
    resuming: "Connection lost",
    closing: "Closing",
    closed: "Closed",
    sent: "sent",
    received: "received",
    empty: "empty",
    bytes: "{count} B",
    milliseconds: "{count} ms",
    echoSummary: "{sent} sent · {received} back · {mean} ms on average",
    openFirst: "Open the connection first.",
    lookFirst: "Not opened: this window has only just come to the front. Pause for a second, then try again.",
    reconnectFirst: "Not sent: the connection is closed. Reconnect first.",
    notSent: "Not sent: the connection did not open.",
    awaitReturn: "Not sent: the connection is lost. Wait until it is back.",
    comingBack: "Coming back… The server keeps {command} for {count} s.",
    resumed: "Resumed where it broke off",
    cut: "… {count} more characters",
    moreBytes: "… {count} more bytes",
    earlier: "{count} earlier lines are no longer shown",
    newest: "{count} new lines",
    lastedFor: "after {count} s",
    code: "code {code}",
    codeReason: "code {code}, {reason}",
    refused: "The server refused the connection. A browser hides the reason; the server’s log says why.",
    unreachable: "The server does not answer. Is it still running?",
    cancelled: "Closed before it was open.",
    notAwaited: "The server’s answer was not awaited.",
    givenUp: "No longer resuming. The server terminates {command} when its resume time has passed.",
    lost: "The connection broke off",
    notBack: "The connection broke off and did not come back in time",
    because: "{what} ({codes})",
    exited: "{command} ended with exit status {status}",
    killed: "{command} was terminated by signal {signal}",
    code1001: "The server is shutting down",
    code1002: "Protocol error",
    code1003: "The server does not take this kind of message",
    code1007: "The text was not valid UTF-8",
    code1008: "Against the server’s policy",
    code1009: "The message was too big for the server",
    code1011: "The server met an error",
    code1013: "The server is too busy; try again later",
    code4409: "The session goes on over another connection",
    code4410: "The session could not be resumed without loss",
    noConfig: "The page could not read its settings from the server. Reload it to try again.",
    atOtherPaths: "This server has its programs at paths of their own. Connect to one of them with a WebSocket.",
    shellElsewhere: "The demo serves its shell on a loopback address only. To serve one here on purpose, name it as the command: wspipe -- sh",
  },
  zh: {
    tagline: "让任何程序接入 WebSocket",
    echoTitle: "回显",
    shellTitle: "命令行",
    commandTitle: "命令",
    open: "连接",
    close: "断开",
    reconnect: "重新连接",
    send: "发送",
    clear: "清空",
    message: "消息",
    line: "要发送的一行",
    kind: "消息类型",
    text: "文本",
    binary: "二进制",
    echoHint: "建立连接后发送一条消息，它会原样返回。",
    echoPlaceholder: "输入消息",
    shellHint: "建立连接，或直接发送一行：每一行都会交给 {command}，它的输出显示在这里。",
    shellPlaceholder: "输入一行，交给 {command}",
    keys: "Enter 发送 · ↑ ↓ 历史 · Shift+Enter 换行",
    idle: "未连接",
    connecting: "正在连接",
    opened: "已连接",
    resuming: "连接中断",
    closing: "正在断开",
    closed: "已断开",
    sent: "发送",
    received: "接收",
    empty: "空",
    bytes: "{count} 字节",
    milliseconds: "{count} 毫秒",
    echoSummary: "已发送 {sent} · 已返回 {received} · 平均 {mean} 毫秒",
    openFirst: "请先建立连接。",
    lookFirst: "未连接：此窗口刚刚出现在前面。请稍等一秒再试。",
    reconnectFirst: "未发送：连接已断开，请先重新连接。",
    notSent: "未发送：连接没有建立。",
    awaitReturn: "未发送：连接已中断，请等待恢复。",
    comingBack: "正在恢复… 服务器会将 {command} 保留 {count} 秒。",
    resumed: "已从中断处恢复",
    cut: "… 还有 {count} 个字符",
    moreBytes: "… 还有 {count} 字节",
    earlier: "更早的 {count} 行不再显示",
    newest: "{count} 行新内容",
    lastedFor: "持续 {count} 秒",
    code: "代码 {code}",
    codeReason: "代码 {code}，{reason}",
    refused: "服务器拒绝了连接。浏览器不会给出原因，请查看服务器日志。",
    unreachable: "服务器没有响应，它还在运行吗？",
    cancelled: "连接建立之前已取消。",
    notAwaited: "没有等待服务器的回应。",
    givenUp: "已放弃恢复。服务器等待期满后会结束 {command}。",
    lost: "连接中断",
    notBack: "连接中断，未能及时恢复",
    because: "{what}（{codes}）",
    exited: "{command} 已结束，退出状态 {status}",
    killed: "{command} 被信号 {signal} 终止",
    code1001: "服务器正在关闭",
    code1002: "协议错误",
    code1003: "服务器不接受这种类型的消息",
    code1007: "文本不是有效的 UTF-8",
    code1008: "违反了服务器的策略",
    code1009: "消息超过了服务器允许的大小",
    code1011: "服务器出错",
    code1013: "服务器繁忙，请稍后再试",
    code4409: "会话已转到另一个连接",
    code4410: "会话无法完整恢复",
    noConfig: "页面无法从服务器读取设置，请重新加载。",
    atOtherPaths: "此服务器的程序各有自己的路径，请用 WebSocket 连接其中之一。",
    shellElsewhere: "演示用的命令行只在回环地址上提供。如需在此提供，请把它写成命令：wspipe -- sh",
  },
};

/** The first of the reader's languages that the page has, or English. */
export function chooseLanguage(asked) {
  const known = asked.map((tag) => tag.toLowerCase().split("-")[0]).find((tag) => tag in WORDS);
  return known ?? "en";
}

export const language = chooseLanguage(navigator.languages ?? [navigator.language ?? "en"]);

/** The text `key` in the reader's language, with its {names} replaced by `values`. */
export function word(key, values = {}) {
  return WORDS[language][key].replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** Whether the text exists: some close codes have none. */
export function hasWord(key) {
  return key in WORDS[language];
}

const counts = new Intl.NumberFormat(language);
const tenths = new Intl.NumberFormat(language, { minimumFractionDigits: 1, maximumFractionDigits: 1 });

/** A count with the reader's separators. */
export const count = (number) => counts.format(number);

/** A measured number with one decimal. */
export const tenth = (number) => tenths.format(number);

/** The time of day in milliseconds, in the reader's time zone: 09:05:07.123. */
export function timeOfDay(date) {
  const two = (number) => String(number).padStart(2, "0");
  const milliseconds = String(date.getMilliseconds()).padStart(3, "0");
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${milliseconds}`;
}

/** Sets the text of each element that names one. */
export function translate(root, values = {}) {
  for (const element of root.querySelectorAll("[data-word]")) {
    element.textContent = word(element.dataset.word, values);
  }
  for (const element of root.querySelectorAll("[data-word-hint]")) {
    const hint = word(element.dataset.wordHint, values);
    if (element instanceof HTMLTextAreaElement) element.placeholder = hint;
    else element.dataset.hint = hint;
  }
}
