import com.launchdarkly.eventsource.ErrorStrategy;
import com.launchdarkly.eventsource.EventSource;
import com.launchdarkly.eventsource.FaultEvent;
import com.launchdarkly.eventsource.MessageEvent;
import com.launchdarkly.eventsource.StreamEvent;
import java.net.URI;
import java.util.List;

/** {@code always-continue}: the loop goes on after an error, which it does not by default. */
public final class Main {
    public static void main(String[] words) throws Exception {
        boolean continues = List.of(words).contains("always-continue");
        Driver.run((url, token) -> {
            EventSource.Builder builder = new EventSource.Builder(URI.create(url));
            if (continues) {
                listen(builder.errorStrategy(ErrorStrategy.alwaysContinue()).build());
            } else {
                for (MessageEvent event : builder.build().messages()) {
                    Driver.message(event.getData(), event.getLastEventId());
                }
            }
            Driver.end("the loop ended");
        });
    }

    private static void listen(EventSource source) {
        for (StreamEvent event : source.anyEvents()) {
            if (event instanceof MessageEvent) {
                Driver.message(((MessageEvent) event).getData(), ((MessageEvent) event).getLastEventId());
            } else if (event instanceof FaultEvent) {
                Driver.error(((FaultEvent) event).getCause());
            }
        }
    }
}
