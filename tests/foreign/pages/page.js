// What both pages share: they live on another origin than the daemon, and report what they see.
export const report = (who, what, more = {}) =>
  fetch("/report", { method: "POST", body: JSON.stringify({ who, what, ...more }) });

export const caller = (api) => async (method, path, { body, token } = {}) => {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  if (body && !(body instanceof FormData)) {
    headers["Content-Type"] = "application/json";
    body = JSON.stringify(body);
  }
  const answer = await fetch(api + path, { method, headers, body });
  const envelope = await answer.json();
  if (!envelope.success) throw new Error(`${method} ${path}: ${answer.status} ${envelope.message}`);
  return envelope;
};

export const failing = (who) => (error) => report(who, "failed", { message: String(error) });
