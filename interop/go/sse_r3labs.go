package main

import "github.com/r3labs/sse/v2"

// `buffer=1MiB`: messages above 64 KiB.
func init() {
	drivers["sse/r3labs"] = func(url, _ string, words []string) error {
		var options []func(*sse.Client)
		if has(words, "buffer=1MiB") {
			options = append(options, sse.ClientMaxBufferSize(1<<20))
		}
		client := sse.NewClient(url, options...)
		client.OnDisconnect(func(*sse.Client) { say("error", map[string]any{"text": "disconnected"}) })
		return client.SubscribeRaw(func(event *sse.Event) { message(string(event.Data), string(event.ID)) })
	}
}
