package main

import "github.com/launchdarkly/eventsource"

func init() {
	drivers["sse/launchdarkly"] = func(url, _ string, _ []string) error {
		stream, err := eventsource.Subscribe(url, "")
		if err != nil {
			return err
		}
		opened()
		go func() {
			for err := range stream.Errors {
				failed(err)
			}
		}()
		for event := range stream.Events {
			message(event.Data(), event.Id())
		}
		return nil
	}
}
