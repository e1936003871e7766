# The experiments of the paper: Table 1 and Figures 2 to 6. Only config/paper.yaml has their settings.


rule paper:
    input:
        paper_layout.table1,
        figure_paths(*PAPER_FIGURES),


rule table1:
    input:
        paper_layout.table1,


rule figure2:
    input:
        figure_paths("figure2"),


rule figure3:
    input:
        figure_paths("figure3"),


rule figure4:
    input:
        figure_paths("figure4"),


rule figure5:
    input:
        figure_paths("figure5"),


rule figure6:
    input:
        figure_paths(*[name for name in PAPER_FIGURES if name in FIGURE6]),


rule paper_data:
    input:
        settings=data_asked,
        mnist=mnist_files,
    output:
        [paper_layout.packed("{dataset}", split) for split in SPLITS],
        [paper_layout.packed_index("{dataset}", split) for split in SPLITS],
    log:
        paper_layout.log("data", "{dataset}"),
    benchmark:
        paper_layout.benchmark("data", "{dataset}")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=more(2000),
        runtime=more(30),
    params:
        settings=str(paper_layout.settings("data", "{dataset}")),
        results=paper_results,
        mnist=as_it_is(PAPER.mnist),
        seed=settings.seed,
    shell:
        "cohortreg paper data {params.results:q} --dataset {wildcards.dataset:q} --mnist {params.mnist:q}"
        " --settings {params.settings:q} --seed {params.seed:q} 2>&1 | tee {log:q}"


rule paper_cell:
    input:
        settings=cell_asked,
        data=rules.paper_data.output,
    output:
        paper_layout.measured(*PAPER_CELL),
        paper_layout.examples(*PAPER_CELL),
    log:
        paper_layout.log("cell", "-".join(PAPER_CELL)),
    benchmark:
        paper_layout.benchmark("cell", "-".join(PAPER_CELL))
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=more(16000 if PRESET == "full" else 2000),
        runtime=more(2880 if PRESET == "full" else 240),
    params:
        settings=str(paper_layout.settings("cell", "-".join(PAPER_CELL))),
        results=paper_results,
        accelerator=settings.training.accelerator,
        seed=settings.seed,
    shell:
        "cohortreg paper cell {params.results:q} --dataset {wildcards.dataset:q} --network {wildcards.network:q}"
        " --weight {wildcards.weight:q} --variant {wildcards.variant:q} --settings {params.settings:q}"
        " --accelerator {params.accelerator:q} --seed {params.seed:q} --threads {threads:q} 2>&1 | tee {log:q}"


rule paper_table1:
    input:
        settings=table1_asked,
        cells=[paper_layout.measured(*cell) for cell in table1_cells(*TABLE1)],
        published=as_it_is(PAPER.published),
    output:
        paper_layout.table1,
        paper_layout.table1_markdown,
    log:
        paper_layout.log("table1"),
    benchmark:
        paper_layout.benchmark("table1")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=more(2000),
        runtime=more(30),
    params:
        settings=str(paper_layout.settings("table1")),
        results=paper_results,
        preset=PRESET,
        seed=settings.seed,
    shell:
        "cohortreg paper table1 {params.results:q} --published {input.published:q} --preset {params.preset:q}"
        " --settings {params.settings:q} --seed {params.seed:q} 2>&1 | tee {log:q}"


rule paper_figure:
    input:
        settings=figure_asked,
        cells=figure_files,
    output:
        figure_paths("{figure}"),
    log:
        paper_layout.log("figure", "{figure}"),
    benchmark:
        paper_layout.benchmark("figure", "{figure}")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=more(4000),
        runtime=more(240),
    params:
        settings=str(paper_layout.settings("figure", "{figure}")),
        results=paper_results,
        preset=PRESET,
        seed=settings.seed,
    shell:
        "cohortreg paper figure {params.results:q} --name {wildcards.figure:q} --preset {params.preset:q}"
        " --settings {params.settings:q} --seed {params.seed:q}"
        " --threads {threads:q} 2>&1 | tee {log:q}"
