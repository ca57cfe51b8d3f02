"""The language of the demo world: themes, moods, invented titles and people, and the grammar that writes reviews.

Both domains share the words for themes and moods, so a film review and an album review about the same thing sound
alike; only the craft words (camera, bass line) differ. A rule is a list of alternatives in which `{name}` stands for
another rule. `Writer` expands rules and never uses an alternative twice within one review.
"""

import re
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

Rules = dict[str, list[str]]


class Theme(NamedTuple):
    """One theme: its category label in each domain and the words for it. No label occurs in any review."""

    screen: str
    sound: str
    adjectives: list[str]
    phrases: list[str]
    title_words: list[str]


def _theme(labels: str, adjectives: str, phrases: str, title_words: str) -> Theme:
    screen, sound = labels.split("|")
    return Theme(screen, sound, adjectives.split("|"), phrases.split("|"), title_words.split("|"))


# Phrases are plural or uncountable, so that every template agrees with every phrase.
THEMES: list[Theme] = [
    _theme(
        "Neo-noir|Dark jazz",
        "rain-soaked|shadowy|smoke-stained|nocturnal|hard-boiled|neon-lit|street-lit",
        "wet asphalt and neon|back-alley shadows|late-night phone calls|cigarette smoke and venetian blinds|"
        "sleepless detectives|rain on taxi windows|crooked cops and cheap whisky|two-in-the-morning bars|mugshots "
        "and hotel matchbooks|pawnshop pistols|fire escapes in the drizzle|betrayals over bourbon|trench coats and "
        "alibis",
        "Alibi|Rain|Neon|Matchbook|Ashtray|Wharf|Nightcap|Gutter",
    ),
    _theme(
        "Space opera|Space ambient",
        "weightless|starlit|interstellar|orbital|cosmic|zero-gravity|celestial",
        "drifting satellites|humming airlocks|distant nebulae|radio signals from nowhere|frozen comets and dead "
        "moons|lonely astronauts|slow orbits and silent hulls|meteor showers and mission logs|gravity and its "
        "absence|space stations gone quiet|telescopes trained on nothing|cratered horizons|starlight through a "
        "cracked visor",
        "Orbit|Perigee|Comet|Airlock|Nebula|Meridian|Apogee|Satellite",
    ),
    _theme(
        "Hometown drama|Chamber folk",
        "neighbourly|homespun|front-porch|big-hearted|homely|down-to-earth|close-knit",
        "church suppers and borrowed ladders|garden-gate gossip|main-street shop windows|neighbours who know too "
        "much|harvest fairs and brass bands|kitchen-table kindness|Sunday bakeries|jam jars on windowsills|"
        "village-hall raffles|paper rounds and barking terriers|casseroles left on doorsteps|old friends and older "
        "grudges",
        "Porch|Orchard|Supper|Fence|Quilt|Bakery|Mailbox|Steeple",
    ),
    _theme(
        "Heist thriller|Spy funk",
        "clockwork|tightly wound|nerve-jangling|slippery|high-stakes|light-fingered|double-dealing",
        "safe-crackers and getaway cars|ticking clocks|stolen blueprints|vault doors and held breath|elaborate cons|"
        "forged paintings|wigs, accents and rented tuxedos|ventilation shafts|jewel thieves with scruples|last jobs "
        "gone wrong|whispered countdowns|smooth-talking thieves|false passports and hidden microphones",
        "Vault|Decoy|Blueprint|Tumbler|Getaway|Cipher|Forger|Skeleton Key",
    ),
    _theme(
        "Teen drama|Indie pop",
        "adolescent|wide-eyed|bittersweet|gawky|sun-faded|youthful|growing-up",
        "first summers away from home|bike rides at dusk|school corridors and secret notes|teenage bedrooms|"
        "locker-room dares|skateboards and scraped knees|crushes that last a fortnight|exam nerves and cheap cider|"
        "growing pains|borrowed jackets and first cigarettes|diary pages|awkward first dances|friendships that "
        "outgrow themselves",
        "Schoolyard|Bicycle|Yearbook|Locker|Summer|Diary|Curfew|Treehouse",
    ),
    _theme(
        "Folk horror|Drone folk",
        "pagan|uncanny|moss-covered|creeping|unearthly|bone-chilling|ritualistic",
        "village rituals|standing stones in fog|wicker masks|bonfires in the barley|whispering hedgerows|harvest "
        "hymns with teeth|old gods under the field|antlers and candle wax|crows on the gatepost|corn dolls nailed "
        "to doors|midsummer processions|hares in the churchyard|curses muttered over milk pails|buried bones",
        "Antler|Hollow|Barley|Wicker|Hedgerow|Crow|Ritual|Bonfire",
    ),
    _theme(
        "Slapstick comedy|Novelty pop",
        "madcap|goofy|rubber-faced|daft|cartoonish|knockabout|silly",
        "pratfalls and custard pies|runaway pianos|silly voices|clown-shoe nonsense|banana-skin timing|daft "
        "misunderstandings|collapsing furniture|rakes, ladders and wet paint|exploding soufflés|trousers that fall "
        "down|mistaken identities and escaped geese|squeaky hinges and slide whistles|dinner parties gone wrong",
        "Custard|Trombone|Banana|Trousers|Hiccup|Wig|Stepladder|Pudding",
    ),
    _theme(
        "Political drama|Protest punk",
        "conspiratorial|backroom|cold-eyed|partisan|scheming|paranoid|power-hungry",
        "backroom deals|leaked memos|smoke-filled committee rooms|ministers with secrets|marble corridors and "
        "whispers|rigged ballots|spin doctors and burner phones|coalition bargaining at midnight|diplomats who "
        "smile too much|secret ledgers and bribes|speeches with hidden knives|wiretaps and quiet threats|loyalties "
        "for sale",
        "Ballot|Senate|Memo|Envoy|Cabinet|Treaty|Quorum|Dossier",
    ),
    _theme(
        "Road movie|Americana",
        "wide-open|dust-blown|wandering|sunburnt|roadside|long-haul|footloose",
        "motel signs and long horizons|empty highways|gas-station coffee|maps with holes in them|dusty windscreens|"
        "miles of telephone wire|truck stops at dawn|desert miles|cactus shadows and tumbleweed|pick-up trucks and "
        "harmonicas|state lines crossed before breakfast|jukeboxes in the middle of nowhere|hitchhikers and "
        "half-told stories",
        "Highway|Motel|Odometer|Milepost|Detour|Windscreen|Junction|Tarmac",
    ),
    _theme(
        "Winter drama|Nordic minimal",
        "snowbound|wintry|frostbitten|solitary|ice-bright|frozen-over|cabin-bound",
        "snow on empty harbours|frozen lakes|icicles on the eaves|reindeer tracks and northern lights|wool socks "
        "drying by the stove|blizzards against the shutters|long polar nights|cabins without visitors|breath on "
        "cold glass|wood smoke and silence|footprints that lead nowhere|unanswered letters in December|ice roads "
        "and paraffin lamps",
        "Frost|Icehouse|Snowfield|Lantern|Solstice|Glacier|Mitten|Thaw",
    ),
    _theme(
        "Romantic drama|Soul ballads",
        "lovestruck|swooning|heart-on-sleeve|amorous|yearning|candlelit|besotted",
        "stolen glances|love letters|last trains and first kisses|hands that almost touch|slow dances in kitchens|"
        "old flames|bouquets sent too late|rooftop confessions|weddings interrupted|perfume on a borrowed scarf|"
        "missed chances and second chances|whispered promises|lovers who cannot say it",
        "Valentine|Embrace|Ribbon|Ballroom|Sweetheart|Perfume|Vow|Rosewater",
    ),
    _theme(
        "Machine thriller|Industrial electronic",
        "mechanical|circuit-driven|dystopian|metallic|cybernetic|machine-made|cold-wired",
        "robots that learn too much|factory floors at midnight|rogue algorithms|drones over grey cities|"
        "surveillance cameras that blink|assembly lines and alarm bells|voltage, rust and hydraulics|servo motors "
        "and sparks|thinking machines|blinking server racks|steel and static|androids with grudges|circuits that "
        "dream",
        "Circuit|Piston|Automaton|Relay|Signal|Engine|Rivet|Turbine",
    ),
]

# The moods form a ring: each leads to the next one. Adjectives first, then uncountable nouns.
MOODS: list[tuple[list[str], list[str]]] = [
    (adjectives.split("|"), nouns.split("|"))
    for adjectives, nouns in (
        (
            "slow|unhurried|patient|glacial|languid|meditative|leisurely|ruminative|measured",
            "patience|stillness|slowness|calm|restraint",
        ),
        (
            "tender|gentle|caring|soft-spoken|delicate|affectionate|loving|compassionate|soothing",
            "tenderness|gentleness|warmth|compassion|affection",
        ),
        (
            "dreamy|hazy|drifting|hypnotic|floating|trance-like|gauzy|woozy|mesmeric",
            "haze|reverie|dream logic|languor|trance",
        ),
        (
            "playful|mischievous|breezy|impish|light-footed|cheeky|whimsical|frisky|jaunty",
            "mischief|playfulness|cheek|whimsy|good cheer",
        ),
        (
            "restless|jittery|urgent|twitchy|breathless|propulsive|frantic|fidgety|nervy",
            "restlessness|urgency|nervous energy|agitation|momentum",
        ),
        (
            "furious|raging|ferocious|blistering|seething|wrathful|enraged|volcanic|incensed",
            "fury|rage|anger|wrath|venom",
        ),
        (
            "bleak|desolate|grim|merciless|pitch-black|despairing|harrowing|forlorn|funereal",
            "bleakness|gloom|despair|desolation|dread",
        ),
        (
            "wistful|melancholy|aching|nostalgic|elegiac|rueful|plaintive|homesick|autumnal",
            "melancholy|longing|nostalgia|homesickness|regret",
        ),
    )
]

# What differs between films, series and albums.
KINDS: dict[str, dict[str, str]] = {
    "film": {
        "thing": "film|picture",
        "saw": "watched it|saw it|caught it|finally got round to it",
        "aspect": "the camera work|the third act|the ending|the script|the lead performance|the dialogue|the "
        "editing|the lighting|the first half hour|the final shot|the screenplay|the framing|the sound design|the "
        "opening scene",
        "aspects": "the performances|the supporting players|the side characters|the long takes|the costumes|the "
        "last ten minutes|the close-ups|the quiet scenes|the locations|the set pieces",
        "moment": "the scene in the {spot}|the chase through the {spot}|the conversation in the {spot}|the dance in "
        "the {spot}|the long silence in the {spot}",
        "unit": "scene|shot|line",
        "again": "rewatch|second viewing|repeat viewing",
        "stopped": "I left before the credits|I checked the running time twice|I walked out for popcorn and stayed "
        "out|I fell asleep before the final reel",
        "where": "in a half-empty cinema|at the matinee|on a tiny laptop screen|on the big screen|at an open-air "
        "screening",
        "maker": "director|filmmaker",
        "with_it": "with subtitles on|from the back row|with the curtains drawn|in one sitting",
    },
    "series": {
        "thing": "series|show",
        "saw": "binged it|watched it|got through it|followed it",
        "aspect": "the pilot|the season finale|the writing|the casting|the big twist|the narration|the pacing of "
        "the middle stretch|the dialogue|the production design|the lead performance|the penultimate hour|the slow "
        "set-up",
        "aspects": "the middle episodes|the cliffhangers|the leads|the flashbacks|the subplots|the supporting cast "
        "members|the opening credits|the villains|the family scenes",
        "moment": "the episode set in the {spot}|the reunion in the {spot}|the confession in the {spot}|the one "
        "with the {spot}",
        "unit": "episode|scene|subplot",
        "again": "rewatch|second run|marathon",
        "stopped": "I gave up after four episodes|I skipped to the finale|I kept looking at my phone|I never "
        "finished the season",
        "where": "over one long weekend|an episode a night|on the train, in instalments|in two feverish evenings",
        "maker": "showrunner|writers' room",
        "with_it": "with subtitles on|in the wrong order by mistake|with the whole household|an hour at a time",
    },
    "album": {
        "thing": "album|record",
        "saw": "played it|heard it|listened to it|gave it a spin",
        "aspect": "the bass line|the production|the mix|side two|the opening track|the drumming|the singing|the "
        "closing number|the brass|the sequencing|the mastering|the piano playing|the low end|the long instrumental",
        "aspects": "the vocals|the lyrics|the harmonies|the guitars|the synths|the strings|the choruses|the quiet "
        "passages|the drums|the arrangements|the melodies|the backing singers",
        "moment": "the song about the {spot}|the field recording from the {spot}|the number they cut in a {spot}|"
        "the waltz about a {spot}",
        "unit": "track|verse|note",
        "again": "replay|second spin|repeat listen",
        "stopped": "I took it off halfway through side one|I skipped most of the tracks|the needle came up early|I "
        "sold my copy within a week",
        "where": "through good headphones|on an old turntable|in the car with the windows down|on a cheap kitchen "
        "radio",
        "maker": "band|producer",
        "with_it": "on vinyl|from first track to last|with the lights off|at full volume",
    },
}

COMMON: dict[str, str] = {
    # words
    "pos": "superb|gorgeous|wonderful|beautifully judged|first-rate|immaculate|magnificent|stunning|quietly "
    "brilliant|marvellous|exquisite|terrific|glorious|flawless|remarkable|excellent|dazzling|irresistible|"
    "captivating|sublime|radiant|masterly|luminous|enthralling|delightful|splendid|riveting|peerless|sumptuous",
    "neg": "dull|flat|clumsy|lifeless|tedious|overcooked|wooden|tiresome|muddled|half-finished|shapeless|grating|"
    "feeble|dreary|forgettable|limp|hollow|sloppy|stilted|bloated|lazy|contrived|laboured|plodding|incoherent|"
    "amateurish|insipid|threadbare|botched|aimless|stale|derivative|charmless",
    "mid": "uneven|serviceable|decent|competent|passable|patchy|all right|solid enough|acceptable|middling|so-so",
    "very": "truly|simply|absolutely|really|genuinely|honestly|utterly",
    "hedge": "to be fair|if I am honest|in my view|for what it is worth|all things considered|in fairness|truth be "
    "told",
    "who": "my sister|my father|a colleague|my flatmate|an old friend|my teenage son|the clerk at the shop|my "
    "neighbour|my aunt|our book club|my daughter|my partner|my grandmother|someone on the night shift|a stranger on "
    "a ferry|my cousin|the librarian|my ex|my dentist|a friend from the choir",
    "day": "Tuesday|Sunday|Friday|Monday|Thursday|holiday|birthday",
    "when": "on a wet {day}|after a long shift|during a power cut|on the night bus home|while ironing a mountain of "
    "shirts|in the middle of a heatwave|with a cold and a pot of ginger tea|the week we moved house|on a delayed "
    "flight|after an argument I would rather forget|while the baby slept|in a rented cottage by the sea|between two "
    "exams|over leftover curry|with the dog asleep on my feet|late on {day}|the evening before an operation|during "
    "a fortnight of flu|while painting the spare bedroom|on a slow {day} afternoon|with a blanket and too much "
    "toast|at the end of a rotten month|while babysitting twins|after the funeral of a distant cousin|in a tent "
    "during a thunderstorm|between shifts at the hospital|the afternoon the boiler exploded|on crutches after a "
    "skiing mishap|with noisy builders next door|on the eve of my retirement|while waiting for a plumber|at the "
    "launch of a friend's pottery studio|during jury service|after a marathon of spring cleaning",
    "long": "for days|for a week|since last spring|for most of a month|since the first time|ever since",
    "feel": "{mood_a}|{mood_a} and {theme_a}|{theme_a}|{mood_a}, {theme_a}",
    "memory": "my grandfather's shed|the smell of struck matches|a swimming pool in October|being lost in a foreign "
    "supermarket|my first flat, the one with the mouse|piano lessons with a strict nun|an aquarium after closing "
    "time|the summer I sold ice cream|queueing for the dentist|a jigsaw with one piece missing|my uncle's slideshow "
    "evenings|the attic of a house we never bought|a school trip to a quarry|hot chocolate from a vending machine|"
    "waiting for exam results|my mother humming over the ironing|the last page of a borrowed novel|a lighthouse I "
    "once visited|the caravan park at Easter|learning to swim in a reservoir|a storm that knocked out the "
    "telephones|fireworks seen from a hospital window|the cellar under my aunt's pub|a wedding where nobody danced|"
    "tuning an old wireless|hide-and-seek in a museum|my landlady and her parrots|a broken umbrella in a foreign "
    "capital|eating cherries on a roof|the corridor outside the headmaster's office|an abandoned funfair|a taxi "
    "driver who recited poetry|painting scenery for the school play|the gymnasium on prom morning|losing a tooth at "
    "a carnival|a monastery with terrible soup|pigeons above the tram depot|a picnic interrupted by cows|my first "
    "pay packet|thunder over the allotments|oranges at the bottom of a Christmas stocking",
    "habit": "keep ticket stubs|alphabetise their spices|talk to cats|read the last chapter first|cry at adverts|"
    "collect old postcards|never throw away a map|fall asleep in armchairs|write letters by hand|repair their own "
    "bicycles|grow tomatoes on balconies|argue about fonts|remember every birthday|own too many lamps|whistle in "
    "lifts|count swans|finish crosswords in ink|prefer trains to planes|drink their tea black|hum while they cook|"
    "still buy newspapers|keep a notebook by the bed|restore typewriters|mend their own socks|feed the "
    "neighbourhood foxes|salt their caramel|sketch commuters|bake on impulse|label every cable|wave at barges|name "
    "their houseplants|memorise timetables|dawdle in bookshops|rearrange furniture at night|polish their boots|"
    "quote proverbs|darn, pickle and knit",
    "spot": "launderette|petrol station|greenhouse|boathouse|stairwell|butcher's shop|planetarium|bus shelter|"
    "bowling alley|chapel|car park|barber's shop|cable car|swimming baths|warehouse|observatory|tollbooth|"
    "fishmonger's|allotment|lift shaft|tea room|dry dock|bell tower|pawnbroker's|scrapyard|waiting room|sauna|ferry "
    "terminal|attic|phone box|orangery|laundry basement|vineyard|quarry|windmill|locksmith's|canteen|hangar|"
    "velodrome|crypt|pharmacy|embassy garden|billiard hall|toll bridge|conservatory|multi-storey",
    "like_pos": "a key in a well-oiled lock|the first warm evening of the year|a postcard from an old accomplice|a "
    "trapdoor opening|bread straight from the oven|sunlight on a brick wall|a perfectly thrown stone|a secret told "
    "at exactly the right time|a bell heard across water|a clean shirt|a hand on the shoulder|a chess move nobody "
    "saw coming|a cold beer after haymaking|a lamp left on in the hall|the right word in a foreign language|an "
    "encore nobody had to beg for|rain after a month of drought|a coin found in an old coat",
    "like_neg": "soup without salt|a tax form|a broken escalator|a joke explained twice|lukewarm bathwater|a sermon "
    "on drainage|a cardigan with a hole in it|an estate agent's brochure|a puncture|damp cardboard|a meeting that "
    "could have been a memo|week-old lettuce|a shopping trolley with a stuck wheel|a speech by a deputy mayor|a "
    "hymn played on a kazoo|an umbrella turned inside out|gravel in a sandwich|a lecture on parking|a balloon three "
    "days after the party|instructions translated twice|chewed gum|decaffeinated thunder",
    # verdicts by rating
    "open5": "what a {pos} {thing}!|I {very} loved this {thing}|one of the finest things I have come across in "
    "years|I was hooked from the first minute|this went straight onto my list of favourites|I cannot praise it "
    "enough|few {thing}s have got under my skin like this|a {pos} piece of work from start to finish|it deserves "
    "every bit of praise it gets|I wanted to stand up and applaud|believe the fuss, it is {pos}|{who} was right, "
    "this is {pos}",
    "open4": "I liked this a great deal|a very good {thing} with only small flaws|it won me over slowly but surely|"
    "strong work, and better than I had expected|not quite perfect, but {pos} for long stretches|a really enjoyable "
    "{thing}|there is so much to admire here|this is a keeper|{who} recommended it and I am grateful|good company "
    "from beginning to end",
    "open3": "I am of two minds about this one|some of it works and some of it does not|neither a triumph nor a "
    "disaster|it is {mid}, no more and no less|a {thing} of two halves|I wanted to like it more than I did|there is "
    "a good {thing} somewhere in here|fair enough, though I expected more|{hedge}, it is {mid}|my feelings are mixed",
    "open2": "this left me rather disappointed|I had hoped for much more|there are ideas here, but most of them go "
    "nowhere|a weak effort, sad to say|it never found its feet|{who} loves it and I cannot see why|less than the "
    "sum of its parts|I struggled with this one|too much of it is {neg}|half of it would have been plenty",
    "open1": "I want my evening back|what a {neg} mess|I honestly could not stand it|one of the worst things I have "
    "sat through|a waste of time and money|I regret every minute|{neg} from beginning to end|avoid this one|I have "
    "no idea what anybody sees in it|nothing about it works",
    # theme and mood: praised; wanted but badly done; not to the writer's liking; in two minds
    "theme_pos": "if you have a weakness for {theme}, this is a feast|it has everything I want: {theme}, {theme} "
    "and a {mood_a} heart|the {feel} atmosphere is {pos}|nobody does {theme} with this much {mood_n}|I could live "
    "inside its world of {theme}|{theme} and {mood_n}, just how I like it|it is {mood_a} and {theme_a}, and I loved "
    "that|all that {mood_n} makes the {theme} hit even harder|rarely has anyone made {theme} feel so {mood_a}|the "
    "{mood_a} tone suits the {theme} perfectly|I came for the {theme} and stayed for the {mood_n}|so {mood_a}, so "
    "{theme_a}, so very much my sort of {thing}|the {theme_a} side of it is {pos}|it joins {theme} and {mood_n} as "
    "if that were the most natural thing in the world|give me {theme} and I am happy, and this is {pos}|it drew me "
    "in with {theme} and kept me there with sheer {mood_n}|every {unit} is full of {theme}|a {feel} treat for "
    "anyone who treasures {theme}",
    "theme_off": "I usually adore {theme}, but the result here is {neg}|I love anything {theme_a}, yet this one "
    "only borrows the clothes|it promises {theme} and delivers a {neg} sketch|a {theme_a} {thing} should never be "
    "this {neg}|even a devotee of {theme} like me found it {neg}|no amount of {theme} can hide how {neg} it is|I "
    "was looking forward to {theme} and got a {neg} imitation|the {mood_n} is forced, and the {theme} "
    "deserved better|it treats {theme} like items on a shopping list|the {theme_a} parts, normally my favourite "
    "thing, are {neg} here",
    "theme_not": "I never warmed to {theme}, and this did not change my mind|far too {theme_a} for my taste|I have "
    "no patience for {theme}|too much {mood_n} for me, and {theme} on top of it|it is so {mood_a} and {theme_a} "
    "that I lost interest|{theme}, again and again, until I stopped caring|I wanted something less {mood_a}|{theme} "
    "and the like: simply not my thing|the {feel} mood wore me out|people who enjoy {theme} may differ, but I found "
    "it {neg}|{mood_a} to the point of parody|if I never meet {theme} again it will be too soon",
    "theme_mid": "I enjoyed the {theme}, the {mood_n} less so|I had time for the {theme} but the {mood_a} tone did "
    "not always help|it is {theme_a} in a half-hearted sort of way|there are flashes of {theme}, but not quite "
    "enough of that|a little too {mood_a} for me, though the {theme_a} parts are good|fans of {theme} will get more "
    "from it than I did|when it turns {theme_a} it comes alive, and then it turns {mood_a} and drifts off|the "
    "{mood_n} is real, the {theme} felt borrowed|I could take or leave {theme}, and this is no exception|{hedge}, "
    "the {feel} mood carries it about halfway",
    # craft
    "good": "{aspect} is {pos}|{aspects} are {pos}|{aspect} alone is worth the price|I keep going back to {aspect}|"
    "{aspects} have stayed with me {long}|not a single {unit} is wasted|{aspects} are {pos}, and {aspect} is even "
    "better|you can tell the {maker} cared about every {unit}|I have not stopped thinking about {aspect} {long}|"
    "{aspect} caught me off guard in the best way|{aspect} gave me goosebumps|{aspects} carry real weight|even "
    "{aspect}, often the weak spot, is {pos}|{aspect} lands like {like_pos}|it reminded me of {memory}, and I mean "
    "that as praise|{moment} is {pos}|made for people who {habit}, and I am one of them|I smiled all the way "
    "through {moment}",
    "bad": "{aspect} is {neg}|{aspects} are {neg}|I never believed in {aspect}|{aspect} is {neg} and {aspects} are "
    "no help|{stopped}|{aspects} suggest that nobody cared|somebody should have fixed {aspect}|hardly a {unit} "
    "rings true|the {maker} seems to have lost interest around the middle|{aspect} goes on forever and leads "
    "nowhere|whoever approved {aspect} owes me an apology|{aspects} drag badly|{aspect} lands like {like_neg}|it "
    "reminded me of {memory}, and not in a good way|{moment} is {neg}|{aspects} have all the charm of {like_neg}|I "
    "winced at {moment}",
    "both": "{aspect} is {pos}, but {aspects} are {neg}|{aspects} are {pos} while {aspect} is merely {mid}|for "
    "every strong {unit} there is a {neg} one|{aspect} works, {aspects} do not|I liked {aspect}; {aspects} I could "
    "do without|{aspects} are {mid}, and {aspect} saves what it can|{moment} is {pos}, the rest {mid}|{aspect} "
    "lands like {like_pos}, {aspects} like {like_neg}|it reminded me of {memory}, for better and for worse|perhaps "
    "it is meant for people who {habit}",
    "caveat": "my only complaint is that {aspect} is a touch {neg}|{aspects} could have been trimmed|a small "
    "grumble: {aspect} is only {mid}|{hedge}, {aspects} are less convincing|it loses its way for a moment around "
    "the middle",
    "mercy": "still, {aspect} is not bad|at least {aspects} are decent|one kind word: {aspect} has its moments|"
    "{hedge}, {aspects} show some promise|in its favour, it is never lazy",
    # circumstances
    "life": "I {saw} {when}|I {saw} {where}, {when}|{who} lent me a copy and I {saw} {when}|I first {saw} "
    "{with_it}, {when}|we {saw} {where} because {who} insisted|{who} and I argued about it all the way home|I {saw} "
    "{with_it} and then sat in the dark for a while|{who} walked in halfway and had plenty of questions|I {saw} "
    "{when}, which may have coloured my view|I {saw} {where} and then again {with_it}|a gift from {who}, unwrapped "
    "{when}|{who} talked me into it {when}|I {saw} {when}, thinking of {memory}|I knew nothing about it beforehand "
    "and {saw} {when}",
    # closings
    "close5": "I am already planning a {again}|do yourself a favour and find it|I have told everyone I know, "
    "including {who}|this one stays on my shelf for good|ten out of ten from me|I would give a sixth star if I "
    "could|please, more like this|it made me cry {when}, and I was glad of it|treat yourself|nothing else this year "
    "comes close",
    "close4": "well worth your time|I will be looking for more by the same {maker}|recommended, with a clear "
    "conscience|I can see myself coming back to it|a {again} is on the cards|{who} will be getting this as a "
    "present|happily recommended",
    "close3": "worth a try if you are curious|I doubt I will return to it|borrow it before you buy it|three stars "
    "feels about right|{who} liked it more than I did|fine for {day} night, nothing more|your mileage may vary",
    "close2": "I will not be back for a {again}|there are better ways to spend {day} night|two stars, and one of "
    "them is for effort|I passed my copy on to {who}|wait until it is cheap, or do not bother|a missed chance",
    "close1": "save your money|not even {who} could sit through it|straight to the charity shop|one star, because "
    "zero is not on offer|please do not make another one|I have apologised to {who} for suggesting it",
    # headlines
    "head5": "{pos_h}, {mood_a} and {theme_a}|an instant favourite|{theme} done right|perfect for a {mood_a} "
    "evening|I love this|a {pos} {thing}|could not ask for more|{mood_a}, {theme_a}, unforgettable|bravo|a "
    "{theme_a} masterpiece|{theme}, please never end",
    "pos_h": "superb|gorgeous|wonderful|stunning|dazzling|terrific",
    "head4": "very good indeed|a {mood_a} pleasure|{theme_a} and rewarding|better than expected|nearly perfect|good "
    "{theme_a} fun|worth the wait|a {thing} with {mood_n}|impressive {mood_n}|strong stuff|{theme}, well done",
    "head3": "it is all right|a mixed bag|{mood_a} but {mid}|half good|{theme_a}, up to a point|not sure about this "
    "one|decent in places|{theme}, but not enough else|middle of the road|okay, I suppose",
    "head2": "a letdown|too {mood_a} for me|not what I hoped for|disappointing|{theme_a} but {neg}|short on ideas|"
    "rather {neg}|more {mood_n} than sense|weak {thing}, nice cover|expected better",
    "head1": "awful|{neg} and {neg}|do not bother|what were they thinking?|a {neg} {thing}|{theme} ruined|never "
    "again|so much {mood_n}, so little sense|unbearable|avoid",
}

_SLOT = re.compile(r"\{(\w+)\}")
_ARTICLE = re.compile(r"\b([Aa]) (?=(?:[aeiou](?!ne\b|ne-|ni[cvq]|se)|hour|honest))", re.IGNORECASE)
_POLARITY = {5: ("theme_pos", "good"), 4: ("theme_pos", "good"), 3: ("theme_mid", "both")}
# The share of reviews with 1, 2, 3, 4 and 5 sentences, summed up.
_LENGTHS = (0.14, 0.44, 0.74, 0.91, 1.0)


@cache
def _pieces(template: str) -> list[str]:
    """Returns literal, slot, literal, slot, ..., literal."""
    return _SLOT.split(template)


@cache
def _rules(kind: str, theme: int, mood: int) -> Rules:
    """Returns every rule for a film, series or album of that theme and mood."""
    rules = {name: text.split("|") for name, text in (COMMON | KINDS[kind]).items()}
    adjectives, nouns = MOODS[mood]
    words = THEMES[theme]
    return rules | {"theme": words.phrases, "theme_a": words.adjectives, "mood_a": adjectives, "mood_n": nouns}


def _sentence(text: str) -> str:
    """Capitalises, settles "a" or "an" and ends with a full stop where no other mark stands."""
    text = _ARTICLE.sub(r"\1n ", text[0].upper() + text[1:])
    return text if text[-1] in ".!?" else text + "."


class Writer:
    """Writes reviews; one stream of random numbers, so that the same generator writes the same reviews."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._buffer: list[float] = []
        self._used: set[str] = set()

    def _random(self) -> float:
        # A block at a time: single draws from a numpy generator cost more than the writing.
        if not self._buffer:
            self._buffer = self._rng.random(8192).tolist()
        return self._buffer.pop()

    def _expand(self, name: str, rules: Rules) -> str:
        options = rules[name]
        choice = options[int(self._random() * len(options))]
        for _ in range(6):
            if choice not in self._used:
                break
            choice = options[int(self._random() * len(options))]
        self._used.add(choice)
        pieces = _pieces(choice)
        if len(pieces) == 1:
            return choice
        return "".join(self._expand(p, rules) if i % 2 else p for i, p in enumerate(pieces))

    def review(
        self, kind: str, themes: Sequence[int], mood: int, rating: int, likes: Sequence[bool]
    ) -> tuple[str, str]:
        """Returns the headline and the text of one review.

        `kind` is "film", "series" or "album". The first of the two `themes` (indices into THEMES) is always spoken of,
        the second in some longer reviews; `likes` says of each whether the writer is fond of it, and so how a bad
        review complains: "I love X and this gets it wrong" or "X is not for me". `mood` is an index into MOODS and
        `rating` a whole number from 1 to 5.
        """
        self._used.clear()
        first = _rules(kind, themes[0], mood)
        headline = _sentence(self._expand(f"head{rating}", first)).rstrip(".")
        self._used.clear()
        names = [self._opinion(rating, likes[0])]
        craft = _POLARITY.get(rating, ("", "bad"))[1]
        extra = sum(self._random() > share for share in _LENGTHS[:-1])
        # The order of a review: verdict, circumstances, theme, craft, second theme, closing.
        wanted = sorted(range(5), key=lambda _: self._random())[:extra]
        if 0 in wanted:
            names.insert(0, f"open{rating}")
        if 1 in wanted:
            names.insert(1 if self._random() < 0.5 else 0, "life")
        if 2 in wanted:
            names.append({4: "caveat", 2: "mercy"}.get(rating, craft) if self._random() < 0.35 else craft)
        text = [self._expand(name, first) for name in names]
        if 3 in wanted:
            text.append(self._expand(self._opinion(rating, likes[1]), _rules(kind, themes[1], mood)))
        if 4 in wanted:
            text.append(self._expand(f"close{rating}", first))
        if len(text) == 1 and text[0].count(" ") < 7:
            text.append(self._expand(craft, first))
        if sum(part.count(" ") + 1 for part in text) < 8:
            text.append(self._expand("life", first))
        return headline, " ".join(map(_sentence, text))

    def _opinion(self, rating: int, likes: bool) -> str:
        if rating in _POLARITY:
            return _POLARITY[rating][0]
        return "theme_off" if likes else "theme_not"


def _words(text: str, separator: str | None = None) -> list[str]:
    return text.split(separator)


_THINGS = _words(
    "Ledger Orchid Compass Sparrow Harbour Mirror Thimble Estuary Pilgrim Parasol Cartographer Heron Bellows "
    "Almanac Tinderbox Ferryman Marigold Anvil Chandelier Oarsman Lacquer Pendulum Hourglass Magpie Cobbler Sundial "
    "Kestrel Turnstile Velvet Granite Carousel Weathervane Telegraph Inkwell Driftwood Beekeeper Cathedral "
    "Glassblower Tollkeeper"
)
_QUALITIES = _words(
    "Crooked Borrowed Paper Salted Hollow Second Unsent Copper Tin Amber Quiet Half-Built Painted Sleeping Broken "
    "Seventh Vanishing Patient Wooden Backward Folded Burning Secret Stubborn Forgotten Pale Gilded"
)
_PLACES = _words(
    "Vellmoor Ostrel Quillhaven Marrowby Tarnholt Eskerdale Brackwater Lindow Pellacombe Dunmarrow Isk Halvorsby "
    "Corrowell Thessaly-Row Nettlecross Orrin Saltmere Wexcombe"
)
_TITLES = _words(
    "The {t} {g}|The {g} {t}|The {q} {t} of {p}|A {q} {t}, a {q} {g}|{t} and {g}|A {t} for the {g}|Notes from the {t}|"
    "The {t} of {p}|What the {g} Knew|{t} at {p}|Letters to a {q} {g}|{t} Year|The Last {g} of {p}|{g} in the {t}|"
    "No {t} in {p}|{q} {g}, {q} {t}",
    "|",
)
_FIRST = _words(
    "Odile Casimir Ines Tobiah Marit Yevan Salome Orrin Petra Lucan Imke Dario Noor Alasdair Bettina Kofi Runa "
    "Emeric Thea Joaquim Sunniva Idris Maeve Anselm Zora Leopold Nadia Caspian Wilhelmine Taro Elspeth Rafe"
)
_LAST = _words(
    "Varrowe Tellisk Ostrane Marchetwin Quillory Brandelow Hask Ferrowin Dunnever Kastelan Mirrowby Oyelade-Wren "
    "Sollivant Pettibrook Arkwendt Lomasz Thornequist Vandermoss Illarov Greycastle Nakamori-Bell Esterling "
    "Wolfram-Oake Casaverde Rookhope Jellivan Underlock Brisbarrow Okonrae Tamsworth-Ley"
)


def item_title(rng: np.random.Generator, theme: int) -> str:
    """Returns an invented title of two words or more, coloured by the theme."""

    def fill(match: re.Match[str]) -> str:
        lists = {"t": THEMES[theme].title_words, "g": _THINGS, "q": _QUALITIES, "p": _PLACES}
        options = lists[match[1]]
        return options[int(rng.integers(len(options)))]

    while True:
        title = _ARTICLE.sub(r"\1n ", _SLOT.sub(fill, _TITLES[int(rng.integers(len(_TITLES)))]))
        words = [word for word in title.replace(",", "").lower().split() if word not in ("a", "an")]
        if len(set(words)) == len(words):  # no "Hollow Hollow"
            return title


def creator_name(rng: np.random.Generator, band: bool) -> str:
    """Returns an invented person, or an invented band."""

    def pick(options: list[str]) -> str:
        return options[int(rng.integers(len(options)))]

    if band:
        return f"{pick(_QUALITIES)} {pick(_THINGS)} {pick(_words('Club Quartet Choir Union Orchestra Society'))}"
    return f"{pick(_FIRST)} {pick(_LAST)}"
