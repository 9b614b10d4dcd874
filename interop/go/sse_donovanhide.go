package main

import "github.com/donovanhide/eventsource"

func init() {
	drivers["sse/donovanhide"] = func(url, _ string, _ []string) error {
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
